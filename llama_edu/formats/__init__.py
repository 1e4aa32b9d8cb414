"""Bytes in, arrays out: safetensors files, `config.json`, number formats, 8-bit storage."""
