"""Expectations under Gaussians: kernels of activations, norms over heads, spectra of Gaussian matrices."""
