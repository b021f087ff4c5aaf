"""What several commands share: options, targets, pages."""
