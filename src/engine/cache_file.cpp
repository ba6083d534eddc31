#include "engine/cache_file.h"

#include <algorithm>
#include <cstring>

#include "base/checked.h"
#include "formats/safetensors.h"

namespace cria::engine {
namespace {

using formats::TensorView;
using kernels::kPageSize;

constexpr std::string_view kVersion = "1";

/// What the values in the cache depend on: the files of the model, by name, size and time, and the types in use.
std::string model_mark(Engine& engine) {
  std::vector<std::string> parts;
  const auto add_file = [&](const std::filesystem::path& file) {
    std::error_code ignored;
    parts.push_back(fmt::format("{} {} {}", file.filename().string(), std::filesystem::file_size(file, ignored),
                                std::filesystem::last_write_time(file, ignored).time_since_epoch().count()));
  };
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(engine.path(), ignored)) {
    const std::string type = entry.path().extension().string();
    if (type == ".safetensors" || type == ".gguf" || entry.path().filename() == "config.json") add_file(entry.path());
  }
  if (parts.empty()) add_file(engine.path());
  std::ranges::sort(parts);
  const model::MemoryPlan& plan = engine.model().memory_plan();
  parts.push_back(fmt::format("{} bytes of weights, {} cache", plan.weight_bytes, kernels::kv_type_name(plan.kv_type)));
  return fmt::format("{}", fmt::join(parts, "; "));
}

/// The tensors of a file for so many tokens, without data; "tokens" is the first.
std::vector<TensorView> layout(Engine& engine, size_t token_count) {
  const uint64_t pages = divide_up(token_count, uint64_t{kPageSize});
  std::vector<TensorView> tensors(1);
  tensors[0].name = "tokens";
  tensors[0].dtype = formats::DType::kU32;
  tensors[0].shape = {token_count};
  for (uint32_t layer = 0; layer < engine.config().num_layers; ++layer) {
    for (const char* part : {"keys", "values"}) {
      TensorView& tensor = tensors.emplace_back();
      tensor.name = fmt::format("layers.{}.{}", layer, part);
      tensor.dtype = formats::DType::kU8;
      tensor.shape = {pages, engine.model().kv_cache().page_bytes()};
    }
  }
  return tensors;
}

/// The buffer behind the tensor at that place in layout().
const gpu::Buffer& buffer_of(Engine& engine, size_t index) {
  const kernels::KvLayer& layer = engine.model().kv_cache().layer(static_cast<uint32_t>((index - 1) / 2));
  return index % 2 == 1 ? layer.keys : layer.values;
}

Status check_resident(Engine& engine, const std::filesystem::path& path) {
  if (engine.model().kv_cache().stream().empty()) return {};
  return fail(ErrorCode::kUnsupported,
              "{}: no cache is written or read while a memory budget keeps a part of it in memory of the host",
              path.string());
}

Result<std::vector<uint32_t>> check_tokens(Engine& engine, const TensorView& tensor, std::string_view name) {
  std::vector<uint32_t> tokens(tensor.data.size() / 4);
  std::memcpy(tokens.data(), tensor.data.data(), tokens.size() * 4);
  const uint32_t context = engine.model().kv_cache().max_context();
  if (tokens.size() > context) {
    return fail(ErrorCode::kUnsupported, "{}: holds {} tokens, more than the context of {}", name,
                with_commas(tokens.size()), with_commas(context));
  }
  const auto outside = std::ranges::find_if(tokens, [&](uint32_t t) { return t >= engine.config().vocab_size; });
  if (outside == tokens.end()) return tokens;
  return fail(ErrorCode::kInvalidInput, "{}: holds the token {}, outside the vocabulary of {} tokens", name, *outside,
              engine.config().vocab_size);
}

/// Errors where the file's tensors are not those of layout().
Status check_layout(const std::vector<TensorView>& wanted, const std::vector<const TensorView*>& found,
                    std::string_view name) {
  for (size_t i = 0; i < wanted.size(); ++i) {
    if (found[i] != nullptr && found[i]->dtype == wanted[i].dtype && found[i]->shape == wanted[i].shape) continue;
    return fail(ErrorCode::kInvalidInput, "{}: \"{}\" is missing, or has not the type {} and the shape [{}]", name,
                wanted[i].name, formats::dtype_name(wanted[i].dtype), fmt::join(wanted[i].shape, ", "));
  }
  return {};
}

}  // namespace

Status write_cache(Engine& engine, uint32_t slot, std::span<const uint32_t> tokens, const std::filesystem::path& path) {
  CRIA_TRY(check_resident(engine, path));
  const std::vector<TensorView> tensors = layout(engine, tokens.size());
  const std::vector<uint32_t>& pages = engine.model().kv_cache().pages(slot);
  const uint64_t bytes = engine.model().kv_cache().page_bytes();
  CRIA_CHECK(tensors.size() < 2 || pages.size() >= tensors[1].shape[0]);
  const auto produce = [&](const TensorView& tensor, const platform::WriteBytes& write) -> Status {
    const auto place = std::ranges::find(tensors, tensor.name, &TensorView::name);
    if (place == tensors.begin()) return write(std::as_bytes(tokens));
    const gpu::Buffer& buffer = buffer_of(engine, static_cast<size_t>(place - tensors.begin()));
    for (uint64_t i = 0; i < tensor.shape[0]; ++i) {
      CRIA_TRY_ASSIGN(const std::vector<std::byte> page, engine.device().read(buffer, pages[i] * bytes, bytes));
      CRIA_TRY(write(page));
    }
    return {};
  };
  return formats::write_safetensors(path, tensors, {{"cria_kv", std::string(kVersion)}, {"model", model_mark(engine)}},
                                    produce);
}

Result<std::vector<uint32_t>> read_cache(Engine& engine, uint32_t slot, const std::filesystem::path& path) {
  CRIA_TRY(check_resident(engine, path));
  const std::string name = path.string();
  CRIA_TRY_ASSIGN(const formats::Safetensors file, formats::Safetensors::open(path));
  const auto mark = [&](const char* key) {
    const auto found = file.metadata().find(key);
    return found == file.metadata().end() ? std::string() : found->second;
  };
  if (mark("cria_kv") != kVersion) {
    return fail(ErrorCode::kUnsupported, "{}: is no KV cache of version {}", name, kVersion);
  }
  if (mark("model") != model_mark(engine)) {
    return fail(ErrorCode::kUnsupported, "{}: was made with another model, or other types of weights or cache", name);
  }
  const auto find = [&](const std::string& wanted) -> const TensorView* {
    const auto found = std::ranges::find(file.tensors(), wanted, &TensorView::name);
    return found == file.tensors().end() ? nullptr : &*found;
  };
  const TensorView* const stored = find("tokens");
  const std::vector<TensorView> wanted = layout(engine, stored == nullptr ? 0 : stored->data.size() / 4);
  std::vector<const TensorView*> found;
  for (const TensorView& tensor : wanted) found.push_back(find(tensor.name));
  CRIA_TRY(check_layout(wanted, found, name));
  CRIA_TRY_ASSIGN(std::vector<uint32_t> tokens, check_tokens(engine, *stored, name));
  model::KvCache& cache = engine.model().kv_cache();
  CRIA_TRY(cache.reserve(engine.device(), slot, static_cast<uint32_t>(tokens.size())));
  const uint64_t bytes = cache.page_bytes();
  for (size_t index = 1; index < wanted.size(); ++index) {
    for (uint64_t i = 0; i < wanted[index].shape[0]; ++i) {
      const Status written = engine.device().write(buffer_of(engine, index), cache.pages(slot)[i] * bytes,
                                                   found[index]->data.subspan(i * bytes, bytes));
      if (written) continue;
      cache.truncate(slot, 0);
      return std::unexpected(written.error());
    }
  }
  return tokens;
}

}  // namespace cria::engine
