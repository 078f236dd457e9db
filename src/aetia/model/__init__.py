"""The vocabulary of Aetia: pure types, no I/O."""
