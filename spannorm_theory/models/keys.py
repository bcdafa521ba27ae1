"""The keys of configurations: what the same thing is called, and what says nothing about initialisation."""

from __future__ import annotations

#: our word -> the keys that configurations have for it, the first that is there counts
ALIASES: dict[str, tuple[str, ...]] = {
    "depth": ("num_hidden_layers", "n_layer", "n_layers", "num_layers"),
    "width": ("hidden_size", "n_embd", "d_model"),
    "heads": ("num_attention_heads", "n_head", "n_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "head_width": ("head_dim",),
    "hidden": ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size"),
    "expert_hidden": ("moe_intermediate_size", "expert_ffn_hidden_size"),
    "shared_hidden": ("shared_expert_intermediate_size",),
    "activation": ("hidden_activation", "hidden_act", "activation_function", "activation"),
    "epsilon": ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "norm_epsilon"),
    "std": ("initializer_range", "init_std"),
    "vocabulary": ("vocab_size",),
    "experts": ("num_local_experts", "n_routed_experts", "num_experts"),
    "top_k": ("num_experts_per_tok", "moe_topk"),
    "shared_experts": ("n_shared_experts", "num_shared_expert", "num_shared_experts"),
    "dense_layers": ("first_k_dense_replace", "num_dense_layers"),
    "routed_scale": ("routed_scaling_factor", "router_scaling_factor", "route_scale"),
    "window": ("sliding_window", "attention_chunk_size", "sliding_window_size"),
    "rotary": ("rope_parameters", "rope_scaling"),
    "rotary_base": ("rope_theta", "rotary_emb_base"),
    "rotary_share": ("partial_rotary_factor", "rotary_pct"),
    "embedding_factor": ("embedding_multiplier", "scale_emb"),
    "latent_queries": ("q_lora_rank",),
    "latent_keys": ("kv_lora_rank",),
    "rope_kind": ("rope_type", "type"),
}

#: words whose value may be a list with an entry for each layer
LAYERED = ("layer_types", "no_rope_layers", "mlp_only_layers", "moe_layers", "mlp_layer_types")

#: the largest value of words that something is listed for
MOST = {"depth": 100_000}

#: keys that say nothing about the numbers of a network at initialisation, in evaluation, at short lengths
_SILENT = """
    _name_or_path architectures attention_bias attention_out_bias attn_pdrop auto_map bad_words_ids
    begin_suppress_tokens bias bos_token_id cache_implementation chunk_size_feed_forward classifier_dropout
    classifier_dropout_prob cross_attention_hidden_size
    decoder_start_token_id diversity_penalty do_sample dtype early_stopping emb_pdrop embd_pdrop
    embedding_dropout enable_bias encoder_no_repeat_ngram_size eos_token_id ep_size eod_token_id
    exponential_decay_length_penalty finetuning_task forced_bos_token_id forced_eos_token_id head_dtype
    hidden_dropout hidden_dropout_prob attention_dropout attention_probs_dropout_prob dropout id2label
    im_end_id im_newline_id im_start_id image_token_id init_device is_decoder is_encoder_decoder label2id
    layerdrop layer_norm_elementwise_affine length_penalty low_cpu_mem_usage max_length max_model_length
    max_position_embeddings max_seq_len max_sequence_length min_length mlp_bias model_max_length n_ctx
    n_positions no_bias no_repeat_ngram_size num_beam_groups num_beams num_ln_in_parallel_attn
    num_nextn_predict_layers num_return_sequences offset_alibi org_vocab_size
    original_max_position_embeddings output_attentions output_hidden_states output_router_logits
    output_scores pad_id pad_token_id pad_token_ids position_embedding_type prefix pretraining_tp
    problem_type pruned_heads qkv_bias quantization_config remove_invalid_values reorder_and_upcast_attn
    repetition_penalty resid_pdrop residual_dropout return_dict return_dict_in_generate rope_interleave
    router_aux_loss_coef router_jitter_noise scale_attn_weights sep_id sep_token_id skip_cross_attention
    slow_but_exact attn_scale floor_scale summary_activation
    summary_first_dropout summary_proj_to_labels summary_type
    summary_use_proj suppress_tokens task_specific_params temperature text_end_id text_start_id
    tf_legacy_loss tie_encoder_decoder tokenizer_class top_k top_p torch_dtype torchscript
    transformers_version type_vocab_size typical_p use_bfloat16 use_bias use_cache use_qkv_bias
    _remove_final_layer_norm add_cross_attention attn_uses_sequence_id alibi_bias_max
    _sliding_window_pattern max_window_layers sliding_window_pattern topk_method scoring_func moe_layer_freq
    embedding_fraction learned_pos_emb norm_type unk_token_id decoder_bias enable_moe_fp32_combine
    block_size index_n_heads index_head_dim index_topk indexer_types hc_eps hc_magnitude hc_mult
    hc_sinkhorn_iters swiglu_limit learnable_sink_init linear_key_head_dim linear_value_head_dim
    linear_num_key_heads linear_num_value_heads linear_conv_kernel_dim linear_allow_neg_eigval
    linear_a_log_max linear_a_log_min linear_dt_init_floor linear_dt_max linear_dt_min o_groups o_lora_rank
    compress_rates compress_rope_theta mlp_layer_types residual_gate_temperature post_norm_eps
    layer_rope_theta moe_hidden_size global_attn_every_n_layers mup_enabled hc_count hc_lowrank
    qk_rope_head_dim per_layer_config vocab_size_per_layer_input heads_per_ngram ngram_size
    make_ngram_vocab_size_divisible_by ngram_vocab_size_base number_of_conv_states ple_conv_kernel_size
    ple_embed_dim seed split_ngram_parts index_kpool index_kpool_always_select_tail linear_head_dim
    linear_num_heads linear_lower_bound conv_L_cache conv_bias conv_kernel_size unpadded_vocab_size
    swa_num_attention_heads swa_num_key_value_heads swa_head_dim d_rel rel_extent log_scaling_n_floor
    log_scaling_alpha qk_l2_clip_threshold rel_l2_clip_threshold mlp_gate_softcap mlp_up_softcap
    zero_expert_num
    """
SILENT = frozenset(_SILENT.split())

#: keys that do not change what is predicted, with the reason
NO_EFFECT = {
    "tie_word_embeddings": "the gradients at both ends are as they are (three families measured)",
    "attn_logit_softcapping": "a soft cap of logits, far above their size at initialisation",
    "final_logit_softcapping": "a soft cap of the head's logits, which no probe loss reads",
    "attn_temperature_tuning": "a temperature of tokens beyond the first 8,192",
    "output_multiplier": "a factor on the head's logits, which no probe loss reads",
    "logit_scale": "a factor on the head's logits, which no probe loss reads",
    "logits_scaling": "a factor on the head's logits, which no probe loss reads",
    "dim_model_base": "a factor on the head's logits, which no probe loss reads",
    "norm_topk_prob": "weights of experts that the library does not renormalise for this model type",
    "aux_loss_alpha": "a loss of the router's, beside the one that is predicted",
    "seq_aux": "a loss of the router's, beside the one that is predicted",
}
