"""What became of missed customers and what people do about them."""
