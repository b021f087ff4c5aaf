"""From a scanner's DICOM folder to image sets that `fit` and `reverse` read. The only code that imports pydicom."""
