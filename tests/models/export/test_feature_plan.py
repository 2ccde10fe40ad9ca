import numpy as np
import pytest

from rosenblatt.models.export.feature_plan import make_feature_plan
from rosenblatt.models.export.signature import read_signature
from tests.models.export.fitted_models import make_dense_model, make_ensemble, typed_rows


@pytest.mark.parametrize("encoding", ["standard", "piecewise"])
def test_the_order_puts_each_block_where_the_encoder_has_it(encoding):
    model = make_dense_model("relu", encoding)
    plan = make_feature_plan(model.encoder, read_signature(model))
    rows = typed_rows(1).select(column.name for column in model.schema.columns)
    numbers = rows.select(read_signature(model).numbers).to_numpy()
    x = np.where(np.isnan(numbers), plan.fill, numbers)
    z = (x[:, plan.scaled_columns] - plan.center) * plan.factor
    z = np.where(plan.smooth_clip, z / np.sqrt(1 + (z / 3) ** 2), z)
    parts = np.clip((x[:, plan.part_columns] - plan.part_start) / plan.part_width, plan.part_min, plan.part_max)
    missing = np.isnan(numbers)[:, plan.missing_columns]
    codes = read_signature(model).categories[0].codes(rows["city"].to_list())
    blocks = [z, parts, missing, plan.category_tables[0][codes]]
    np.testing.assert_allclose(np.hstack(blocks)[:, plan.order], model.encoder.encode(rows), rtol=1e-6, atol=1e-6)


def test_trials_that_know_different_categories_share_one_input():
    model = make_ensemble()
    column = read_signature(model).categories[0]
    known = [set(trial.encoder.encodings[-1].categories) for trial in model.trials]
    assert known[0] != known[1]
    assert set(column.categories) == known[0] | known[1]
    assert column.codes([None, "", column.categories[1], "never seen"]).tolist() == [
        len(column.categories), len(column.categories), 1, len(column.categories) + 1,
    ]  # fmt: skip
