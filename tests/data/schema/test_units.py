import pytest

from rosenblatt.data.schema.units import Affixes, canonical_unit, parse_affixes, use_letter_magnitudes


@pytest.mark.parametrize(
    ("before", "after", "affixes"),
    [
        ("", "", Affixes()),
        ("$", "", Affixes("$")),
        ("-$", "", Affixes("$", is_negative=True)),
        ("$-", "", Affixes("$", is_negative=True)),
        ("($", ")", Affixes("$", is_negative=True)),
        ("$(", ")", Affixes("$", is_negative=True)),
        ("", "-", Affixes(is_negative=True)),
        ("$.", "", Affixes("$", lead=".")),
        ("Rs.", "", Affixes("Rs.")),
        ("CHF ", "", Affixes("CHF")),
        ("R$ ", "", Affixes("R$")),
        ("", " €", Affixes("€")),
        ("$", " USD", Affixes("USD")),
        ("$", "/month", Affixes("$/month")),
        ("", "K", Affixes(exponent=3)),
        ("", "bn", Affixes(exponent=9)),
        ("", " million", Affixes(exponent=6)),
        ("$", "M", Affixes("$", 6)),
        ("", " Mio. €", Affixes("€", 6)),
        ("", "%", Affixes("%", -2)),
        ("", " ‰", Affixes("%", -3)),
        ("%", "", Affixes("%", -2)),
        ("", " kg", Affixes("kg")),
        ("", "GB", Affixes("GB")),
        ("", " K", Affixes("K")),
        ("", "°C", Affixes("°C")),
        ("", " km/h", Affixes("km/h")),
        ("", " m2", Affixes("m²")),
        ("", "m", Affixes("m")),
        ("", " sq ft", Affixes("sq ft")),
        ("", " mmol/L", Affixes("mmol/L")),
        ("", " years", Affixes("years")),
    ],
)
def test_signs_currencies_magnitudes_and_units_surround_numbers(before, after, affixes):
    assert parse_affixes(before, after, letters=False) == affixes


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("A", ""), ("Q", ""), ("W", ""), ("x", ""), ("#", ""), ("<", ""), ("", "A"), ("", "B"), ("", "st"), ("", "XL"),
        ("", "+"), ("", "-2"), ("", "/2"), ("", ":3"), ("", " am"), ("", "pm"), ("", " Jan"), ("", " December"),
        ("", '"'), ("--", ""), ("(", ""), ("", ")"), ("(-", ")"), ("-", "-"), ("$", "%"), ("$", " EUR"), ("", "²"),
        ("%", " kg"),
    ],
)  # fmt: skip
def test_codes_ranges_times_and_contradictions_are_no_numbers(before, after):
    assert parse_affixes(before, after, letters=False) is None


def test_a_letter_is_a_magnitude_beside_others_a_currency_or_a_decimal():
    assert parse_affixes("", "B", letters=True) == Affixes(exponent=9)
    assert parse_affixes("$", "m", letters=False) == Affixes("$", 6)
    assert use_letter_magnitudes([("", "3", "M"), ("", "1", "B")])
    assert use_letter_magnitudes([("", "1.5", "B")])
    assert not use_letter_magnitudes([("", "12", "A"), ("", "12", "B")])


def test_spellings_of_one_unit_are_equal_but_not_of_different_units():
    for first, second in (
        ("$", "USD"),
        ("€", "euros"),
        ("day", "Days"),
        ("lbs", "lb"),
        ("KG", "kg"),
        ("yrs.", "year"),
        ("hrs", "h"),
    ):
        assert canonical_unit(first) == canonical_unit(second)
    for first, second in (("mW", "MW"), ("$", "€"), ("kg", "g"), ("Mb", "MB")):
        assert canonical_unit(first) != canonical_unit(second)
