"""Image and index plane as one lazy array, and the maps of its cases."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2, nnUNetDatasetNumpy

from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.dataset import IndexedImage, SpinDataset
from nnunet_phys.precomputed_spin.index_plane import read_index_plane
from nnunet_phys.precomputed_spin.map_preprocessing import preprocess_maps
from nnunet_phys.precomputed_spin.preprocessed_dataset import open_preprocessed_dataset
from nnunet_phys.precomputed_spin.raw_dataset import open_raw_dataset
from nnunet_phys.precomputed_spin.spin_copies import open_copy


@pytest.fixture
def indexed():
    image = np.random.default_rng(0).random((1, 4, 5, 6), dtype=np.float32)
    return IndexedImage(image, 7), image


@pytest.mark.parametrize(
    "key",
    [
        slice(None),
        (slice(0, 4), slice(2, 3)),
        (slice(None, 4), slice(0, 3), 1, slice(2, None)),
    ],
)
def test_indexing(indexed, key):
    lazy, image = indexed
    assert (lazy.shape, lazy.ndim, lazy.dtype) == ((2, 4, 5, 6), 4, image.dtype)
    assert np.array_equal(lazy[key][:1], image[key])


@pytest.mark.parametrize("bbox", [[[0, 2], [1, 4], [2, 5]], [[-1, 5], [3, 9], [-2, 4]]])
def test_cropping_and_padding(indexed, bbox):
    lazy, image = indexed
    patch = crop_and_pad_nd(lazy, bbox, 0)
    assert np.array_equal(patch[:1], crop_and_pad_nd(image, bbox, 0))
    case, start, box = read_index_plane(patch[1])
    assert case == 7 and start == tuple(max(0, low) for low, _ in bbox)
    inside = np.zeros(patch.shape[1:], bool)
    inside[box] = True
    assert np.array_equal(inside, crop_and_pad_nd(np.ones((1, 4, 5, 6)), bbox, 0)[0] == 1)


@pytest.mark.parametrize("dataset_class", [nnUNetDatasetBlosc2, nnUNetDatasetNumpy])
def test_any_of_nnunets_dataset_classes(tiny, dataset_class):
    target = open_preprocessed_dataset("Dataset900_Tiny", "nnUNetPlans", "2d")
    preprocess_maps(open_raw_dataset(900), [target], tiny.maps, 1)
    blosc = nnUNetDatasetBlosc2(str(target.folder))
    if dataset_class is nnUNetDatasetNumpy:
        for case in blosc.identifiers:
            image, seg, _, properties = blosc.load_case(case)
            nnUNetDatasetNumpy.save_case(image[:], seg[:], properties, str(target.folder / case))
    dataset = SpinDataset(dataset_class(str(target.folder), ["case4", "case2"]))
    assert dataset.identifiers == ["case2", "case4"] and len(dataset.cases) == 2
    for index, case in enumerate(dataset.identifiers):
        data, seg, seg_prev, properties = dataset.load_case(case)
        assert data.shape == (2, *seg.shape[1:]) and seg_prev is None and "class_locations" in properties
        assert np.array_equal(data[0], blosc.load_case(case)[0][0])
        patch = dataset.cases.locate(data[1])
        assert patch.case is dataset.cases[index] and patch.start == (0, 0, 0)
        reservoir = dataset.cases[index].reservoir
        assert tuple(reservoir.shape) == data.shape[1:] and reservoir.voxels.shape == reservoir.position_mm.shape
        box = tuple(slice(0, n - 1) for n in data.shape[1:])
        maps = dataset.cases[index].maps(box)
        assert maps.shape == (4, *(n - 1 for n in data.shape[1:])) and maps.dtype == torch.float32
        stored = open_copy(dataset.folder, case)[(slice(None), *box)]
        assert maps[1].min() >= 50 and np.array_equal(maps.numpy(), stored.astype(np.float32))
    path = dataset.folder / "case2.b2nd"
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 3 : -200] = bytes(len(damaged) - 200 - len(damaged) // 3)
    path.write_bytes(damaged)
    with pytest.raises(InputError, match=r"case2: .*case2\.b2nd is damaged"):
        dataset.cases[0].maps(tuple(slice(0, n) for n in dataset.cases[0].reservoir.shape))
    assert repr(dataset).startswith("SpinDataset(2 cases")
