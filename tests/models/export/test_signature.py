import json

from rosenblatt.models.export.inputs import prepare_inputs
from rosenblatt.models.export.signature import read_signature
from tests.models.export.fitted_models import make_deep_model, make_dense_model, typed_rows


def test_a_signature_names_the_tensors_in_order_and_what_stays_outside():
    signature = read_signature(make_deep_model("text, image and table"))
    assert signature.tensor_names == ("numbers", "categories", "tokens", "lengths", "image")
    assert [sentence.split()[0] for sentence in signature.boundaries] == ["Categories", "Texts", "Files"]
    assert json.loads(json.dumps(signature.to_json()))["outputs"] == ["a", "b", "c"]


def test_inputs_are_as_the_signature_says():
    model = make_deep_model("text, image and table")
    inputs = prepare_inputs(read_signature(model), typed_rows())
    shapes = {name: (array.shape, array.dtype.name[:3]) for name, array in inputs.items()}
    assert shapes["numbers"] == ((60, 1), "flo")
    assert shapes["categories"] == ((60, 1), "str")
    assert shapes["tokens"] == ((60, 6), "int")
    assert shapes["image"] == ((60, 3, 8, 8), "flo")
    assert "" in inputs["categories"]


def test_convolutions_over_sequences_have_a_fixed_number_of_steps():
    cnn, rnn = make_deep_model("cnn of sequences"), make_deep_model("gru, last")
    rows = typed_rows().filter(typed_rows()["steps"].struct.field("sequence").bin.size() == 8)
    assert prepare_inputs(read_signature(cnn), rows)["sequence"].shape[1] == 6
    assert prepare_inputs(read_signature(rnn), rows)["sequence"].shape[1] == 1


def test_a_table_has_no_media():
    signature = read_signature(make_dense_model("relu"))
    assert signature.tensor_names == ("numbers", "categories")
    assert signature.media == ()
