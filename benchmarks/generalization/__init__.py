"""A test bed of domain generalisation: trained on one contrast, tested on others. See `__main__.py`.

Imported as `generalization`, with the folder `benchmarks` on the path. The bed puts it on the path of nnU-Net's
commands, so that trainers import what their workers unpickle from here and not from the folder that nnUNet_extTrainer
names.
"""
