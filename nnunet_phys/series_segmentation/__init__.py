"""One mask for a series of images of the same anatomy: motion, fusing, agreement. Without nnU-Net and diffusers."""
