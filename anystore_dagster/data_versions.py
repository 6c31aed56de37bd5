"""Running only where content has changed: the checksum of what was stored is the data version of its asset."""

from dagster import AssetCheckKey, AssetKey, AutomationCondition


def content_changed() -> AutomationCondition[AssetKey | AssetCheckKey]:
    """Make an asset follow the content of its dependencies, and not the mere fact that they ran again.

    The asset is requested when the stored bytes of a dependency have changed since it was last handled, and when its
    own value is missing. It waits for dependencies that are missing or in progress. Of an asset by time, only the
    latest partition is requested.

    It sees a change when a dependency has finished, so that a chain of assets takes one evaluation for each link.

    Returns:
        A condition for ``@asset(automation_condition=content_changed())``.

    Example:
        >>> content_changed().get_label()
        'content_changed'
    """
    changed = AutomationCondition.any_deps_match(AutomationCondition.data_version_changed())
    return (
        AutomationCondition.in_latest_time_window()
        & (AutomationCondition.newly_missing() | changed).since_last_handled()
        & ~AutomationCondition.any_deps_missing()
        & ~AutomationCondition.any_deps_in_progress()
        & ~AutomationCondition.in_progress()
    ).with_label("content_changed")
