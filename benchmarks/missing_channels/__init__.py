"""Images of a missing channel: this package's model beside what else a user could do."""
