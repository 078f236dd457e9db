"""Language models that an investigation may ask. None of them is called unless a URL was given."""
