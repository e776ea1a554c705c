"""From new recordings and texts to what a run says of them."""
