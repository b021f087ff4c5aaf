"""The methods that the bed compares; docs/methods.md says what they have in common."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from generalization.ablations import ABLATIONS, BASE

Maps = Literal["labels", "no_labels", "lookup", "true"]
"""Where a method's PD, T1 and T2 maps come from: `nnunet_phys reverse` with `--labels` or without; the mean of
`Likelihood.pixelwise_posterior`, without the diffusion prior; or a digital heart's own maps."""

RECIPES = Path(__file__).parents[1] / "recipes"


@dataclass(frozen=True)
class Method:
    """One way to train and to segment.

    Attributes:
        name: its key in `METHODS` and in file names.
        title: its name in tables and figures.
        trainer: class name of the nnU-Net trainer, in `trainers/`.
        maps: maps of the training cases that the trainer needs; None: none.
        recipe: recipe of the contrasts that the trainer synthesises, a shipped name or a path; None: it synthesises
            none.
        translate: the test images are first turned into bSSFP cine by `nnunet_phys translate`, and then segmented by
            the model of the method with the same trainer and without `translate`, so nothing is trained.
        ablation: how the recipe is changed, a key of `ABLATIONS`; None: not.
        source: the publication, or this package.
        note: what a reader of the tables must know.
    """

    name: str
    title: str
    trainer: str
    maps: Maps | None = None
    recipe: str | None = None
    translate: bool = False
    ablation: str | None = None
    source: str = "nnunet_phys"
    note: str = ""

    @property
    def recipe_name(self) -> str | None:
        """The recipe in records and tables: its short name or file name, and how it is changed."""
        name = self.recipe and Path(self.recipe).name
        return name if self.ablation is None else f"{name}, {self.ablation}"


_METHODS = (
    Method("plain", "nnU-Net", "nnUNetTrainerBench", source="Isensee et al., Nat Methods 2021"),
    Method("da5", "nnU-Net DA5", "nnUNetTrainerBenchDA5", source="nnU-Net v2, nnUNetTrainerDA5"),
    Method("gin_ipa", "GIN-IPA", "nnUNetTrainerBenchGINIPA", source="Ouyang et al., IEEE TMI 42(4), 2023"),
    Method("randconv", "RandConv", "nnUNetTrainerBenchRandConv", source="Xu et al., ICLR 2021"),
    Method("slaug", "SLAug", "nnUNetTrainerBenchSLAug", source="Su et al., AAAI 2023"),
    Method(
        "synthseg",
        "Synthesis from labels",
        "nnUNetTrainerBenchSynthSeg",
        source="Billot et al., Med Image Anal 86:102789, 2023",
        note="The real images only decide how the background is split into classes.",
    ),
    Method(
        "bayeseg",
        "BayeSeg",
        "nnUNetTrainerBenchBayeSeg",
        source="Gao et al., Med Image Anal 89:102889, 2023",
        note="Needs a GPU: two more networks, at full resolution. Trained by AdamW, as published.",
    ),
    Method(
        "ri_t2s",
        "RI-T2S",
        "nnUNetTrainerBench",
        translate=True,
        source="Zhao et al., MICCAI 2025",
        note="Test images become bSSFP cine by way of their maps, and the plain model segments these. The maps of a "
        "series whose protocol is known are estimated jointly from all its images, and one mask counts for all of "
        "them; other images are translated one by one. Single readouts of an inversion series are not, since they "
        "leave T1 open: translated one by one, they scored below no translation.",
    ),
    Method(
        "ri_aug",
        "RI-Aug",
        "nnUNetTrainerBenchPhys",
        maps="no_labels",
        recipe="paper",
        source="Zhao et al., MICCAI 2025",
        note="The contrasts of the paper's published plugin, on maps without labels as in the paper, from this "
        "package's prior.",
    ),
    Method(
        "phys_three",
        "Phys, three sequences",
        "nnUNetTrainerBenchPhys",
        maps="labels",
        recipe=str(RECIPES / "three_sequences.json"),
    ),
    Method("phys", "Phys", "nnUNetTrainerBenchPhys", maps="labels", recipe="default"),
    Method(
        "phys_gin",
        "Phys and GIN",
        "nnUNetTrainerBenchPhysGIN",
        maps="labels",
        recipe="default",
        note="A trial: half of the images also pass through a random network of GIN.",
    ),
    Method(
        "phys_3t",
        "Phys, recipe 3t",
        "nnUNetTrainerBenchPhys",
        maps="labels",
        recipe="3t",
        note="For test images of 3 T scanners; of those here, the MOLLI series are.",
    ),
    Method("phys_no_labels", "Phys, maps without labels", "nnUNetTrainerBenchPhys", maps="no_labels", recipe="default"),
    Method(
        "phys_lookup",
        "Phys, maps by look-up",
        "nnUNetTrainerBenchPhys",
        maps="lookup",
        recipe="default",
        note="Each pixel's tissue as its own value and label suggest, without the diffusion prior "
        "(`competitors/look_up.py`).",
    ),
    Method(
        "phys_true",
        "Phys, true maps",
        "nnUNetTrainerBenchPhys",
        maps="true",
        recipe="default",
        note="Digital hearts only.",
    ),
    *(
        Method(
            f"phys_{name}",
            ablation.title,
            "nnUNetTrainerBenchPhys",
            maps="labels",
            recipe=BASE,
            ablation=name,
        )
        for name, ablation in ABLATIONS.items()
    ),
)
METHODS: dict[str, Method] = {method.name: method for method in _METHODS}
"""All methods by name, in the order of the tables."""

LEFT_OUT: dict[str, str] = {
    "AugLab": (
        "auglab 20260109, the latest on the package index, does not train as published there. Its wheel lacks the "
        "parameter file that the trainer reads (configs/transform_params.json); it imports torchio without requiring "
        "it; and with the kornia that pip installs for it (0.9.0) its import fails, as kornia.core.Tensor is gone. Its "
        "trainer also drops nnU-Net's rotation, scaling and mirroring, so that more than the method would differ."
    )
}
"""Methods that were considered and are not run, with the reason."""
