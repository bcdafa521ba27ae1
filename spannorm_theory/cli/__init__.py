"""The spannorm command, a file for each verb that has more than a call behind it."""
