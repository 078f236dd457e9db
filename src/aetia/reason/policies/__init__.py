"""Who decides what is asked next: by rules, by a language model, or by a learned policy."""
