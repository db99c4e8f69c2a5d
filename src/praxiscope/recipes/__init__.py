"""Settings of training runs, and published ones by name (recipes)."""
