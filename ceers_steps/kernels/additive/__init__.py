"""Sky that is a sum of profiles: along rows, along columns, towards the border."""
