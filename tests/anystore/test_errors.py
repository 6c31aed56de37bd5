"""Each error is a built-in too, and survives pickling."""

import pickle

import pytest

from anystore import errors

BUILT_INS = {
    errors.DoesNotExist: (FileNotFoundError, KeyError),
    errors.AlreadyExists: (FileExistsError,),
    errors.VersionMismatch: (RuntimeError,),
    errors.ReadOnlyError: (PermissionError,),
    errors.InvalidKey: (ValueError,),
    errors.InvalidUri: (ValueError,),
    errors.InvalidOption: (ValueError,),
    errors.CodecError: (ValueError,),
    errors.Unsupported: (NotImplementedError,),
    errors.MissingExtra: (ImportError,),
    errors.BackendError: (OSError,),
    errors.KeyConflict: (OSError,),
    errors.IsAFolder: (IsADirectoryError,),
    errors.NotAFolder: (NotADirectoryError,),
}


def test_every_error_is_in_the_table():
    defined = {
        value
        for value in vars(errors).values()
        if isinstance(value, type) and issubclass(value, errors.AnystoreError) and value is not errors.AnystoreError
    }
    assert defined == set(BUILT_INS)


@pytest.mark.parametrize("error", BUILT_INS, ids=lambda error: error.__name__)
def test_is_ours_and_a_built_in(error):
    assert issubclass(error, errors.AnystoreError)
    assert all(issubclass(error, built_in) for built_in in BUILT_INS[error])


@pytest.mark.parametrize("error", BUILT_INS, ids=lambda error: error.__name__)
def test_shows_its_message_and_survives_pickling(error):
    copy = pickle.loads(pickle.dumps(error("no 'key' here")))
    assert type(copy) is error
    assert str(copy) == "no 'key' here"
