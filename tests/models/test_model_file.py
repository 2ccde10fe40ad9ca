import json
import os
import random
import resource

import numpy as np
import pytest
from safetensors.numpy import save_file

from rosenblatt.errors import ModelFileError, StorageError
from rosenblatt.models.atomic_write import write_file
from rosenblatt.models.model_file import FORMAT, is_model_file, load_model, to_bytes
from tests.models.test_model import FRAME, fit


@pytest.fixture(scope="module")
def model():
    return fit(members=2, epochs=3)


@pytest.fixture
def path(model, tmp_path):
    write_file(tmp_path / "m.rosenblatt", to_bytes(model))
    return tmp_path / "m.rosenblatt"


def test_a_loaded_model_equals_the_saved_one(model, path):
    loaded = load_model(path)
    np.testing.assert_array_equal(loaded.predict_raw(FRAME), model.predict_raw(FRAME))
    assert (loaded.spec, loaded.resolved_spec, loaded.schema, loaded.encoder, loaded.target) == (
        model.spec, model.resolved_spec, model.schema, model.encoder, model.target
    )  # fmt: skip
    assert loaded.metadata == model.metadata
    assert [network.losses for network in loaded.networks] == [network.losses for network in model.networks]


def test_incomplete_files_are_rejected(path):
    content = path.read_bytes()
    for size in (0, 4, 8, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(ModelFileError, match="is not a Rosenblatt model, or incomplete"):
            load_model(path)


def test_a_changed_byte_in_the_weights_is_detected(path):
    content = bytearray(path.read_bytes())
    content[-100] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="damaged: its weights do not match their checksum"):
        load_model(path)


def test_files_of_other_programs_are_rejected(tmp_path, shared_data):
    save_file({"w": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match="tensors of another program"):
        load_model(tmp_path / "other.safetensors")
    with pytest.raises(ModelFileError, match="not a Rosenblatt model"):
        load_model(shared_data / "german.csv")
    with pytest.raises(ModelFileError, match="There is no model file"):
        load_model(tmp_path / "none.rosenblatt")
    with pytest.raises(ModelFileError):
        load_model(tmp_path)


def rewrite_description(path, change):
    """Change the description in a model file."""
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    description = json.loads(header["__metadata__"]["rosenblatt"])
    change(description)
    header["__metadata__"]["rosenblatt"] = json.dumps(description)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])


def test_other_formats_and_invalid_descriptions_are_rejected(path):
    rewrite_description(path, lambda description: description.update(format=99))
    with pytest.raises(ModelFileError, match="written by a later version"):
        load_model(path)
    rewrite_description(path, lambda description: description.update(format=1))
    with pytest.raises(ModelFileError, match="written by an early version"):
        load_model(path)
    rewrite_description(path, lambda description: (description.update(format=FORMAT), description.pop("schema")))
    with pytest.raises(ModelFileError, match="its description is invalid"):
        load_model(path)


@pytest.mark.parametrize("seed", range(40))
def test_any_change_of_the_description_is_an_error_in_one_line(path, seed):
    choose, content = random.Random(seed), bytearray(path.read_bytes())
    start = content.index(b"rosenblatt") + 20
    end = 8 + int.from_bytes(content[:8], "little")
    for _ in range(5):
        changed = bytearray(content)
        position = choose.randrange(start, content.rindex(b"}", start, end))
        changed[position] = choose.choice([byte for byte in b"0123456789abcxyz,:[]{}" if byte != content[position]])
        path.write_bytes(changed)
        with pytest.raises(ModelFileError) as error:
            load_model(path)
        assert "\n" not in str(error.value)
        assert len(str(error.value)) < 700


@pytest.mark.parametrize("value", [None, -1, 10**12, 1e308, "x", [], [10**9], {}, [[]]])
def test_absurd_architectures_are_rejected_before_memory_is_allocated(path, value):
    def change(description):
        del description["description_checksum"]
        description["trials"][0]["networks"][0]["architecture"]["sizes"] = value

    rewrite_description(path, change)
    with pytest.raises(ModelFileError, match="its description is invalid"):
        load_model(path)


def test_absurd_headers_are_rejected(path):
    deep = {"__metadata__": {"rosenblatt": "[" * 100_000}}
    tensors = [{"w": {"dtype": dtype, "shape": [4], "data_offsets": [0, 4]}} for dtype in ("F8_E4M3", "F32", "X")]
    large = {"w": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}
    headers = [json.dumps(header).encode() for header in (deep, *tensors, large)]
    sizes = [len(header) for header in headers] + [2**60, 2**64 - 1, 0]
    for header, size in zip([*headers, *headers[:3]], sizes, strict=True):
        path.write_bytes(size.to_bytes(8, "little") + header + bytes(4))
        with pytest.raises(ModelFileError):
            load_model(path)


def test_a_full_disk_leaves_the_old_file_unchanged(path):
    old_content = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(StorageError, match=r"could not be written: File too large\. Nothing was changed"):
            write_file(path, bytes(100_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == old_content
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_failed_check_leaves_no_file(tmp_path):
    def fail_check(path):
        assert path.read_bytes() == b"new"
        raise ModelFileError("no")

    with pytest.raises(ModelFileError):
        write_file(tmp_path / "m", b"new", fail_check)
    assert list(tmp_path.iterdir()) == []


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(StorageError, match="could not be written: No such file or directory"):
        write_file(tmp_path / "none" / "m", b"x")


def test_model_files_are_distinguished_from_tables(path, tmp_path):
    assert is_model_file(path)
    path.rename(tmp_path / "renamed")
    assert is_model_file(tmp_path / "renamed")
    (tmp_path / "t.csv").write_text("a,b,c,d,e\n1,2,3,4,5\n")
    assert not is_model_file(tmp_path / "t.csv")
    assert not is_model_file(tmp_path / "none")


def test_a_pipe_is_not_read_to_see_whether_it_holds_a_model():
    reader, writer = os.pipe()
    os.write(writer, b"a,b\n")
    assert not is_model_file(f"/dev/fd/{reader}")
    os.close(writer)
    assert os.read(reader, 9) == b"a,b\n"
    os.close(reader)
