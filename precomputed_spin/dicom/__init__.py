"""From a scanner's DICOM folder to image sets that `fit` and `reverse` read, and from results to DICOM objects.

The only code that imports pydicom and highdicom.
"""
