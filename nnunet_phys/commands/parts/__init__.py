"""What single commands are made of; what several share lies in `shared/`."""
