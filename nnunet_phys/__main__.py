"""`python -m nnunet_phys`, which torchrun and accelerate launch can start."""

import sys

from nnunet_phys.commands import main

sys.exit(main())
