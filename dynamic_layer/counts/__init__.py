"""What counting alone knows at a moment: histories, item-item weights, walks."""
