"""The arrays wing: parameters and arrays in, arrays out; knows no text, no task, no device."""
