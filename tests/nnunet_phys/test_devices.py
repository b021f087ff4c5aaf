"""The device that a user asks for, or that is found."""

import pytest
import torch

from nnunet_phys.devices import torch_device
from nnunet_phys.errors import InputError
from nnunet_phys.precomputed_spin.work_parts import device_of_process


@pytest.mark.parametrize("find", [torch_device, device_of_process])
def test_without_a_gpu_auto_is_the_cpu_and_says_so_once(find, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert find("auto") == torch.device("cpu")
    assert [record.levelname for record in caplog.records] == ["WARNING"] and "no GPU" in caplog.text
    caplog.clear()
    assert find("cpu") == torch.device("cpu") and not caplog.records


def test_a_gpu_is_found_and_a_launchers_processes_get_one_each(monkeypatch, caplog):
    tried = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch, "empty", lambda *_, device: tried.append(device))
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert torch_device("auto") == torch.device("cuda")
    assert device_of_process("auto") == device_of_process("cuda") == torch.device("cuda:1")
    assert tried == ["cuda", "cuda:1", "cuda:1"] and not caplog.records  # and no process touches another one's GPU


@pytest.mark.parametrize("name", ["warp", "", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(name):
    with pytest.raises(InputError, match=f"-device {name} is not available .* Use -device cpu"):
        torch_device(name)
