"""A completion model's folder: written whole, read whole, recognised by its hash."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from diffusers.utils import logging as diffusers_messages
from safetensors import SafetensorError

from nnunet_phys.completion.pipeline import CompletionPipeline
from nnunet_phys.errors import InputError, last_line
from nnunet_phys.file_identity import file_sha256
from nnunet_phys.whole_files import working_folder

INDEX = "model_index.json"
"""diffusers' description of a model's parts."""
_UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, ImportError, SafetensorError)
"""What diffusers and transformers raise where a model is not whole."""


def save_model(pipeline: CompletionPipeline, folder: Path) -> None:
    """Write a model's folder whole or not at all.

    Raises:
        InputError: something is there already, or it cannot be written.
    """
    check_vacant(folder)
    try:
        with working_folder(folder.absolute().parent, folder.name) as work:
            pipeline.save_pretrained(str(work / folder.name), safe_serialization=True)
            os.replace(work / folder.name, folder)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder} cannot be written ({last_line(error)}). Is the disk full?") from None


def check_vacant(folder: Path) -> None:
    """Refuse a folder for a new model in whose place there is something.

    Raises:
        InputError: there is.
    """
    if os.path.lexists(folder):
        raise InputError(f"-o {folder} exists. Choose another folder, or remove it.")


def load_model(folder: Path, device: torch.device) -> CompletionPipeline:
    """Read a model.

    Raises:
        InputError: the folder holds no whole model.
    """
    remedy = "Give a folder that `nnunet_phys train_completion` wrote."
    if not (folder / INDEX).is_file():
        raise InputError(f"-model {folder} holds no {INDEX}. {remedy}")
    diffusers_messages.disable_progress_bar()
    try:
        pipeline = CompletionPipeline.from_pretrained(str(folder), local_files_only=True, use_safetensors=True)
        expected = pipeline.projection.config["channels"]
    except _UNREADABLE as error:
        raise InputError(f"-model {folder} cannot be read ({last_line(error)}). {remedy}") from None
    finally:
        diffusers_messages.enable_progress_bar()
    if expected < 2 or any(len(pipeline.config[name]) != expected for name in ("channels", "dark", "bright")):
        raise InputError(f"-model {folder} does not name its channels or their brightness. {remedy}")
    pipeline.set_progress_bar_config(disable=True)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval().requires_grad_(False)
    pipeline.to(device)
    return pipeline


def model_sha256(folder: Path) -> str:
    """Hash of all files of a model: recognises it wherever its folder lies."""
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.suffix in (".json", ".safetensors")):
        digest.update(path.relative_to(folder).as_posix().encode() + file_sha256(path).encode())
    return digest.hexdigest()
