// What stands around the weights in the files that `cria quantize` writes; only quantize.cpp includes this.
#pragma once

#include <map>
#include <string>

#include "engine/engine.h"
#include "formats/gguf_write.h"

namespace cria::engine {

/// Adds all metadata of a GGUF file: of a GGUF file those that it has, of a folder its configuration and tokenizer.
/// Errors: kUnsupported, kInvalidInput.
Status describe_model(const OpenedModel& opened, model::Precision precision, formats::GgufWriter& writer);

/// The JSON files of a Hugging Face folder, by name. Errors: kUnsupported for what config.json cannot say.
Result<std::map<std::string, std::string>> folder_texts(const OpenedModel& opened);

}  // namespace cria::engine
