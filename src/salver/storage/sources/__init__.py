"""One file for each kind of place that models come from. They do not know each other."""
