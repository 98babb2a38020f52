"""Data models whose files are the same to the bit every time they are written."""

from stdatamodels.jwst.datamodels import JwstDataModel

__all__ = ["with_date"]


def with_date(model: JwstDataModel, date: str) -> JwstDataModel:
    """Return the model as one that is saved with a given date instead of the present.

    Parameters
    ----------
    model
        Any data model.
    date
        ISO time for ``meta.date`` (DATE).

    Returns
    -------
    JwstDataModel
        A model of a class with the same name that shares the contents.
    """

    kind = type(model)

    def on_save(self: JwstDataModel, path: str | None = None) -> None:
        kind.on_save(self, path)
        self.meta.date = date

    # the name of the class is written as the type of the model, so it has to stay
    return type(kind.__name__, (kind,), {"on_save": on_save})(model)
