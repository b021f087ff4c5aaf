"""T1 and extracellular volume per segment of the left ventricle. Knows neither nnU-Net nor diffusers."""
