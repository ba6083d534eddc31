#include "formats/huggingface.h"

#include <algorithm>
#include <set>

#include "formats/block_tensors.h"
#include "formats/safetensors_header.h"

namespace cria::formats {
namespace {

namespace fs = std::filesystem;

constexpr uint64_t kMaxConfigBytes = 1 << 20;
constexpr uint64_t kMaxTokenizerBytes = 128ULL << 20;
/// Objects and arrays in a configuration or index: real ones have a few dozen.
constexpr size_t kMaxContainers = 10'000;

/// The file's text; nothing where it does not exist. Errors: kIo, kInvalidInput where it is too large.
Result<std::optional<std::string>> read_text(const fs::path& path, uint64_t limit) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return std::nullopt;
  CRIA_TRY_ASSIGN(const MappedFile file, MappedFile::open(path));
  if (file.bytes().size() > limit) {
    return fail(ErrorCode::kInvalidInput, "{}: is {} bytes long, more than {}", path.string(),
                with_commas(file.bytes().size()), with_commas(limit));
  }
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

Result<std::optional<Json>> read_json(const fs::path& path, uint64_t limit) {
  CRIA_TRY_ASSIGN(const std::optional<std::string> text, read_text(path, limit));
  if (!text) return std::nullopt;
  CRIA_TRY_ASSIGN(Json json, parse_json(*text, path.string(), {.max_containers = kMaxContainers}));
  if (!json.is_object()) return fail(ErrorCode::kInvalidInput, "{}: is not a JSON object", path.string());
  return json;
}

bool is_inside(const fs::path& file, const fs::path& folder) {
  const fs::path relative = file.lexically_relative(folder);
  return !relative.empty() && *relative.begin() != "..";
}

bool is_plain_file_name(std::string_view name) {
  const bool odd =
      std::ranges::any_of(name, [](unsigned char c) { return c < 0x20 || c == '/' || c == '\\' || c == ':'; });
  return !odd && name.size() > std::string_view(".safetensors").size() && name.ends_with(".safetensors");
}

/// A shard is named by a plain file name, and its file lies in the model's folder. A link may also lead
/// into the blobs folder of a Hugging Face cache (models--NAME/snapshots/REVISION links to ../../blobs).
Status check_shard(const fs::path& folder, const std::string& name, const fs::path& index) {
  if (!is_plain_file_name(name)) {
    return fail(ErrorCode::kInvalidInput,
                "{}: names the file \"{}\", which is not the plain name of a *.safetensors file", index.string(),
                shown_name(name));
  }
  std::error_code error;
  const fs::path root = fs::canonical(folder, error);
  const fs::path target = fs::canonical(folder / name, error);
  if (error) return fail(ErrorCode::kNotFound, "{}: names \"{}\", which is missing", index.string(), shown_name(name));
  const bool in_cache =
      root.parent_path().filename() == "snapshots" && is_inside(target, root.parent_path().parent_path() / "blobs");
  if (!is_inside(target, root) && !in_cache) {
    return fail(ErrorCode::kInvalidInput, "{}: names \"{}\", a link that leads outside the folder", index.string(),
                shown_name(name));
  }
  return {};
}

/// The folder's files of that extension, sorted. Errors: kIo.
Result<std::vector<fs::path>> files_with(const fs::path& folder, std::string_view extension) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error)) {
    if (entry->path().extension() == extension) files.push_back(entry->path());
  }
  if (error) return fail(ErrorCode::kIo, "{}: cannot be listed: {}", folder.string(), error.message());
  std::ranges::sort(files);
  return files;
}

constexpr const char* kWanted =
    "a model is a folder with config.json, tokenizer.json and *.safetensors, or a GGUF file";

/// What to say of a path that is no folder.
std::unexpected<Error> refuse_file(const fs::path& path) {
  if (path.extension() == ".safetensors" || path.filename() == "config.json") {
    return fail(ErrorCode::kUnsupported, "{}: is a file; name the folder that it is in: {}", path.string(), kWanted);
  }
  return fail(ErrorCode::kUnsupported, "{}: is neither a folder nor a GGUF file; {}", path.string(), kWanted);
}

}  // namespace

Result<HuggingFaceFolder> HuggingFaceFolder::open(const fs::path& path) {
  std::error_code ignored;
  if (!fs::exists(path, ignored)) return fail(ErrorCode::kNotFound, "{}: does not exist", path.string());
  if (!fs::is_directory(path, ignored)) return refuse_file(path);
  HuggingFaceFolder folder;
  folder.path_ = path;
  CRIA_TRY_ASSIGN(std::optional<Json> config, read_json(path / "config.json", kMaxConfigBytes));
  if (!config) {
    CRIA_TRY_ASSIGN(const std::vector<fs::path> gguf, files_with(path, ".gguf"));
    return fail(ErrorCode::kNotFound, "{}: has no config.json{}; {}", path.string(),
                gguf.empty() ? "" : ", but GGUF files: name the one that is meant", kWanted);
  }
  folder.config_ = *std::move(config);
  CRIA_TRY_ASSIGN(folder.generation_config_, read_json(path / "generation_config.json", kMaxConfigBytes));
  CRIA_TRY_ASSIGN(std::optional<std::string> tokenizer, read_text(path / "tokenizer.json", kMaxTokenizerBytes));
  CRIA_TRY_ASSIGN(std::optional<std::string> settings, read_text(path / "tokenizer_config.json", kMaxTokenizerBytes));
  CRIA_TRY_ASSIGN(std::optional<std::string> chat, read_text(path / "chat_template.jinja", kMaxConfigBytes));
  folder.chat_template_jinja_ = std::move(chat).value_or("");
  folder.tokenizer_json_ = std::move(tokenizer).value_or("");
  folder.tokenizer_config_json_ = std::move(settings).value_or("");
  CRIA_TRY(folder.open_tensors());
  return folder;
}

Status HuggingFaceFolder::open_tensors() {
  std::error_code ignored;
  const fs::path index = path_ / "model.safetensors.index.json";
  if (fs::exists(path_ / "model.safetensors", ignored)) return add_file(path_ / "model.safetensors");
  if (fs::exists(index, ignored)) return open_index(index);
  CRIA_TRY_ASSIGN(const std::vector<fs::path> files, files_with(path_, ".safetensors"));
  if (files.empty()) {
    CRIA_TRY_ASSIGN(const std::vector<fs::path> pickled, files_with(path_, ".bin"));
    CRIA_TRY_ASSIGN(const std::vector<fs::path> gguf, files_with(path_, ".gguf"));
    const char* other = !pickled.empty() ? "; *.bin files are not supported: convert them to safetensors"
                        : !gguf.empty()  ? "; name one of its *.gguf files"
                                         : "";
    return fail(ErrorCode::kNotFound, "{}: has no *.safetensors files{}", path_.string(), other);
  }
  for (const fs::path& file : files) CRIA_TRY(add_file(file));
  return {};
}

Status HuggingFaceFolder::open_index(const fs::path& index) {
  CRIA_TRY_ASSIGN(const std::optional<Json> json, read_json(index, kMaxTokenizerBytes));
  if (!json) return fail(ErrorCode::kNotFound, "{}: does not exist", index.string());
  const auto map = json->find("weight_map");
  if (map == json->end() || !map->is_object()) {
    return fail(ErrorCode::kInvalidInput, "{}: has no \"weight_map\" object", index.string());
  }
  std::set<std::string> shards;
  for (const auto& [tensor, file] : map->items()) {
    if (!file.is_string()) {
      return fail(ErrorCode::kInvalidInput, "{}: the file of tensor \"{}\" is not a string", index.string(),
                  shown_name(tensor));
    }
    if (shards.insert(file.get<std::string>()).second) {
      CRIA_TRY(check_shard(path_, file.get_ref<const std::string&>(), index));
    }
  }
  for (const std::string& shard : shards) CRIA_TRY(add_file(path_ / shard));
  for (const auto& [tensor, file] : map->items()) {
    const TensorView* found = find(tensor);
    const auto& named = file.get_ref<const std::string&>();
    if (found == nullptr || found->file->path().filename() != named) {
      return fail(ErrorCode::kInvalidInput, "{}: says that tensor \"{}\" is in \"{}\", where it is not", index.string(),
                  shown_name(tensor), shown_name(named));
    }
  }
  return {};
}

Status HuggingFaceFolder::add_file(const fs::path& file) {
  auto opened = Safetensors::open(file);
  if (!opened) return std::unexpected(std::move(opened).error().while_doing(fmt::format("opening {}", path_.string())));
  files_.push_back(std::make_unique<Safetensors>(*std::move(opened)));
  for (const TensorView& stored : files_.back()->tensors()) {
    const TensorView* view = &stored;
    CRIA_TRY_ASSIGN(auto blocks, as_blocks(stored, files_.back()->metadata(), file.string()));
    if (blocks) view = blocks_.emplace_back(std::make_unique<TensorView>(*std::move(blocks))).get();
    const TensorView& tensor = *view;
    const auto [other, is_new] = tensors_.emplace(tensor.name, &tensor);
    if (is_new) continue;
    return fail(ErrorCode::kInvalidInput, "{}: tensor \"{}\" is also in {}", file.string(), shown_name(tensor.name),
                other->second->file->path().filename().string());
  }
  return {};
}

const TensorView* HuggingFaceFolder::find(std::string_view name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : found->second;
}

std::vector<std::string> HuggingFaceFolder::names() const {
  std::vector<std::string> names;
  names.reserve(tensors_.size());
  for (const auto& [name, tensor] : tensors_) names.emplace_back(name);
  return names;
}

}  // namespace cria::formats
