"""Where models come from: URIs of every kind, fetched into a content-addressed cache."""
