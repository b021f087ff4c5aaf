"""What other methods do while they train, in our own words; each file cites its paper.

GIN-IPA, RandConv and SLAug make further views of a batch on the training's device, in its train step
(`field_training`); their random numbers are torch's. Transforms, which run in nnU-Net's workers, draw from NumPy, since
all workers have the same torch seed. All of them are for 2d configurations, one input channel and plain labels.
"""
