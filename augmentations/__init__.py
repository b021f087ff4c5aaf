"""PD, T1 and T2 maps -> randomised contrasts, as a batchgeneratorsv2 transform."""
