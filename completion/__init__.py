"""The missing sequence: latent diffusion that makes one channel of a multi-channel case from those that were acquired.

After CMRDiff (Xie, Li, Ma and Xiao, ISMRM 2024, abstract 0384). Read in the order of the data:

    channel_files   which channels of which cases are on disk
    slices          volumes -> slices of one size and brightness, and back
    synthetic_slices    the same from PD, T1 and T2 maps, for pretraining
    augmentation    random views of slices
    autoencoder     images <-> latents
    image_encoder   images -> features, learned contrastively
    conditions      latents and features of the given channels, as the denoiser sees them
    regressor       given images -> the wanted one, without chance
    denoiser        the U-Net that removes noise from what the latents of the wanted channel have beyond it
    heat_map        where the denoiser's loss counts more
    guidance        one guidance scale for each given channel
    middle_view     where the middle of a large slice lies, which is made in a field as large as in training
    pipeline        given images -> samples of the wanted image
    model_files     a model on disk
    latent_bank     views of slices, encoded once for the denoiser
    schedule        how long, on what views, and how fast the networks learn
    training_run    the phases of a training and their checkpoint
    training        the networks, one after the other
    completing      cases with missing channels -> files
"""
