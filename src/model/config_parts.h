// The parts that reading a config.json is made of; only *config*.cpp include this.
#pragma once

#include <string_view>

#include "base/json_fields.h"
#include "model/config.h"

namespace cria::model {

inline constexpr uint32_t kMaxContext = 1U << 24;  ///< positions
inline constexpr uint32_t kMaxSize = 1U << 20;     ///< hidden and intermediate
inline constexpr uint32_t kMaxLayers = 1024;
inline constexpr uint32_t kMaxHeads = 4096;
inline constexpr uint32_t kMaxVocabulary = 1U << 22;
inline constexpr double kMaxRopeFactor = 1e6;

/// Refuses options of related families that would change the result and that the forward pass does not
/// know, unless their value changes nothing. Errors: kUnsupported, naming the option and its value.
Status refuse_unimplemented(const JsonFields& fields, std::string_view name);

/// Reads config.rope from rope_theta and rope_scaling (older files) or rope_parameters (newer ones); needs
/// max_position_embeddings. Errors: kInvalidInput, kUnsupported for kinds that are not implemented.
Status read_rope(const JsonFields& fields, std::string_view name, ModelConfig& config);

}  // namespace cria::model
