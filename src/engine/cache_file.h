// The KV cache of a text in a file, so that a long conversation needs not be read again.
//
// A safetensors file: "tokens" U32 [n]; for each layer i "layers.i.keys" and "layers.i.values" U8 [pages, bytes of a
// page], pages of the cache as they are; in its metadata "cria_kv" (the version), and "model", which tells what it was
// made with.
#pragma once

#include <filesystem>
#include <span>
#include <vector>

#include "engine/engine.h"

namespace cria::engine {

/// Writes the pages of a slot that holds these tokens. Errors: kIo, kNotFound, kDevice.
Status write_cache(Engine& engine, uint32_t slot, std::span<const uint32_t> tokens, const std::filesystem::path& path);

/// Fills an empty slot and returns its tokens. The file is taken for hostile. Errors: kNotFound, kIo; kInvalidInput for
/// a damaged file; kUnsupported where it was made with another model, KV type or version, or is longer than the
/// context; kOutOfMemory, kDevice. After an error the slot is empty.
Result<std::vector<uint32_t>> read_cache(Engine& engine, uint32_t slot, const std::filesystem::path& path);

}  // namespace cria::engine
