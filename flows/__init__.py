"""One module per flow, each readable as its own table of contents."""
