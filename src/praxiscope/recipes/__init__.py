"""Settings of training runs, and recipes: published settings by name."""
