"""Services that run elsewhere, asked over HTTP/1.1."""
