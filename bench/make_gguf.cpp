// Writes a GGUF file of a Llama-shaped model with made-up weights, for measuring the speed of other programs.
//
//   make-gguf hidden=2048,layers=22,heads=32,kv_heads=4,intermediate=5632,vocab=32000[,head_dim=64][,tied=1]
//             f16|q8_0|q4_0|q4_k|q5_k|q6_k|q4_k_m|q5_k_m FILE
//
// Needs nothing but the standard library, so that it can be linked statically and taken to any machine
// (bench/peers.sh). Every matrix has the named type, embedding and output too; norms are 1. But q4_k_m and q5_k_m are
// llama.cpp's mixtures Q4_K_M and Q5_K_M, which users have most often (see type_of).
// The other weights are about N(0, 0.018): the same few MB again and again, as speed does not depend on them.
// Source: the GGUF specification, version 3; block layouts as in its list of tensor types; mixtures as in llama.cpp's
// llama-quant.cpp.
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr uint64_t kAlignment = 32;
constexpr uint64_t kPoolBlocks = 1U << 17;
constexpr uint32_t kContext = 131072;
constexpr float kDeviation = 0.018F;

[[noreturn]] void die(const std::string& sentence) {
  std::cerr << "make-gguf: " << sentence << '\n';
  std::exit(2);
}

struct TensorType {
  std::string_view name;
  uint32_t id;  // in the file
  uint32_t block_bytes;
  uint32_t block;  // elements
  bool operator==(const TensorType& other) const { return id == other.id; }
};
constexpr TensorType kF32 = {"f32", 0, 128, 32};
constexpr TensorType kF16 = {"f16", 1, 64, 32};
constexpr TensorType kQ4_0 = {"q4_0", 2, 18, 32};
constexpr TensorType kQ8_0 = {"q8_0", 8, 34, 32};
constexpr TensorType kQ4_K = {"q4_k", 12, 144, 256};
constexpr TensorType kQ5_K = {"q5_k", 13, 176, 256};
constexpr TensorType kQ6_K = {"q6_k", 14, 210, 256};

struct FileType {
  std::string_view name;
  uint32_t id;      // general.file_type
  TensorType type;  // of all matrices, or most
  bool is_mixture = false;
};
constexpr FileType kFileTypes[] = {
    {"f16", 1, kF16},    {"q8_0", 7, kQ8_0},  {"q4_0", 2, kQ4_0},          {"q4_k", 14, kQ4_K},
    {"q5_k", 16, kQ5_K}, {"q6_k", 18, kQ6_K}, {"q4_k_m", 15, kQ4_K, true}, {"q5_k_m", 17, kQ5_K, true}};

struct Shape {
  uint32_t hidden = 0, layers = 0, heads = 0, kv_heads = 0, intermediate = 0, vocab = 0, head_dim = 0, tied = 0;
};

Shape parse_shape(const std::string& text, uint32_t block) {
  Shape shape;
  const std::map<std::string, uint32_t*> fields = {{"hidden", &shape.hidden},
                                                   {"layers", &shape.layers},
                                                   {"heads", &shape.heads},
                                                   {"kv_heads", &shape.kv_heads},
                                                   {"intermediate", &shape.intermediate},
                                                   {"vocab", &shape.vocab},
                                                   {"head_dim", &shape.head_dim},
                                                   {"tied", &shape.tied}};
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    const std::string part = text.substr(begin, end - begin);
    const size_t equals = std::min(part.find('='), part.size());
    const auto field = fields.find(part.substr(0, equals));
    if (field == fields.end())
      die("there is no dimension \"" + part + "\"; only shapes of the Llama family are written");
    char* stop = nullptr;
    const char* value = part.c_str() + std::min(equals + 1, part.size());
    *field->second = static_cast<uint32_t>(std::strtoul(value, &stop, 10));
    if (*value == '\0' || *stop != '\0') die("\"" + part + "\" does not give a whole number");
    begin = end + 1;
  }
  if (shape.head_dim == 0 && shape.heads != 0) shape.head_dim = shape.hidden / shape.heads;
  for (const uint32_t size : {shape.hidden, shape.intermediate, shape.heads * shape.head_dim}) {
    if (size == 0 || size % block != 0)
      die("a matrix of \"" + text + "\" has rows of " + std::to_string(size) + " elements, not whole blocks of " +
          std::to_string(block));
  }
  if (shape.layers == 0 || shape.kv_heads == 0) die("\"" + text + "\" does not say layers or kv_heads");
  if (shape.vocab < 259) die("a vocabulary of " + std::to_string(shape.vocab) + " has no room for 256 bytes");
  return shape;
}

/// The bytes of a header, in the order of the file; all numbers are little-endian, as this machine's are.
class Header {
 public:
  template <typename T>
  void number(T value) {
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof(value));
  }
  void text(std::string_view value) {
    number<uint64_t>(value.size());
    bytes_ += value;
  }
  template <typename T>
  void field(std::string_view key, uint32_t kind, T value) {
    text(key);
    number(kind);
    number(value);
    ++fields_;
  }
  void u32(std::string_view key, uint32_t value) { field(key, 4, value); }
  void f32(std::string_view key, float value) { field(key, 6, value); }
  void string(std::string_view key, std::string_view value) {
    text(key);
    number<uint32_t>(8);
    text(value);
    ++fields_;
  }
  /// Begins an array whose elements the caller writes.
  void array(std::string_view key, uint32_t kind, uint64_t count) {
    text(key);
    number<uint32_t>(9);
    number(kind);
    number(count);
    ++fields_;
  }
  [[nodiscard]] const std::string& bytes() const { return bytes_; }
  [[nodiscard]] uint64_t fields() const { return fields_; }

 private:
  std::string bytes_;
  uint64_t fields_ = 0;
};

struct Tensor {
  std::string name;
  uint64_t columns, rows;
  TensorType type;

  [[nodiscard]] uint64_t bytes() const { return columns * rows / type.block * type.block_bytes; }
};

/// Layers whose values and down products a mixture keeps in Q6_K: the first and the last eighth, and every third
/// between.
bool has_more_bits(uint32_t layer, uint32_t layers) {
  return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

/// The type of a layer's matrix attn_v or ffn_down. What a mixture has of Llama's 70 billion parameters, which is known
/// by its 80 layers, goes up from Q4_K to Q5_K, as eight heads share its values.
TensorType type_of(const FileType& file, const Shape& shape, uint32_t layer, bool is_values) {
  if (!file.is_mixture) return file.type;
  if (has_more_bits(layer, shape.layers)) return kQ6_K;
  return is_values && shape.layers == 80 && file.type == kQ4_K ? kQ5_K : file.type;
}

std::vector<Tensor> tensors_of(const Shape& s, const FileType& file) {
  const TensorType type = file.type;
  const TensorType output = file.is_mixture ? kQ6_K : type;
  const uint64_t q = uint64_t{s.heads} * s.head_dim;
  const uint64_t kv = uint64_t{s.kv_heads} * s.head_dim;
  std::vector<Tensor> tensors = {{"token_embd.weight", s.hidden, s.vocab, s.tied == 0 ? type : output},
                                 {"output_norm.weight", s.hidden, 1, kF32}};
  if (s.tied == 0) tensors.push_back({"output.weight", s.hidden, s.vocab, output});
  for (uint32_t i = 0; i < s.layers; ++i) {
    const std::string layer = "blk." + std::to_string(i) + ".";
    tensors.push_back({layer + "attn_norm.weight", s.hidden, 1, kF32});
    tensors.push_back({layer + "attn_q.weight", s.hidden, q, type});
    tensors.push_back({layer + "attn_k.weight", s.hidden, kv, type});
    tensors.push_back({layer + "attn_v.weight", s.hidden, kv, type_of(file, s, i, true)});
    tensors.push_back({layer + "attn_output.weight", q, s.hidden, type});
    tensors.push_back({layer + "ffn_norm.weight", s.hidden, 1, kF32});
    tensors.push_back({layer + "ffn_gate.weight", s.hidden, s.intermediate, type});
    tensors.push_back({layer + "ffn_up.weight", s.hidden, s.intermediate, type});
    tensors.push_back({layer + "ffn_down.weight", s.intermediate, s.hidden, type_of(file, s, i, false)});
  }
  return tensors;
}

/// A tokenizer without merges: bytes, and one word for each further id.
void describe_tokens(Header& header, uint32_t vocab) {
  header.string("tokenizer.ggml.model", "llama");
  header.array("tokenizer.ggml.tokens", 8, vocab);
  for (const char* special : {"<unk>", "<s>", "</s>"}) header.text(special);
  for (int byte = 0; byte < 256; ++byte) {
    char name[8];
    std::snprintf(name, sizeof(name), "<0x%02X>", byte);
    header.text(name);
  }
  for (uint32_t id = 259; id < vocab; ++id) header.text("\u2581w" + std::to_string(id));
  header.array("tokenizer.ggml.scores", 6, vocab);
  for (uint32_t id = 0; id < vocab; ++id) header.number(-static_cast<float>(id));
  header.array("tokenizer.ggml.token_type", 5, vocab);
  for (uint32_t id = 0; id < vocab; ++id) header.number<int32_t>(id == 0 ? 2 : id < 3 ? 3 : id < 259 ? 6 : 1);
  header.u32("tokenizer.ggml.bos_token_id", 1);
  header.u32("tokenizer.ggml.eos_token_id", 2);
}

Header describe_model(const Shape& s, const FileType& file) {
  Header header;
  header.string("general.architecture", "llama");
  header.string("general.name", "made-up weights");
  header.u32("general.file_type", file.id);
  header.u32("llama.context_length", kContext);
  header.u32("llama.embedding_length", s.hidden);
  header.u32("llama.block_count", s.layers);
  header.u32("llama.feed_forward_length", s.intermediate);
  header.u32("llama.attention.head_count", s.heads);
  header.u32("llama.attention.head_count_kv", s.kv_heads);
  header.u32("llama.attention.key_length", s.head_dim);
  header.u32("llama.attention.value_length", s.head_dim);
  header.f32("llama.attention.layer_norm_rms_epsilon", 1e-5F);
  header.u32("llama.rope.dimension_count", s.head_dim);
  header.f32("llama.rope.freq_base", 10000);
  header.u32("llama.vocab_size", s.vocab);
  describe_tokens(header, s.vocab);
  return header;
}

/// An f16 near the value, which is 0 or of a magnitude that f16 holds as a normal number.
uint16_t half(float value) {
  if (value == 0) return 0;
  uint32_t bits = 0;
  std::memcpy(&bits, &value, sizeof(bits));
  const uint32_t exponent = ((bits >> 23) & 0xFFU) - 112U;
  return static_cast<uint16_t>(((bits >> 16) & 0x8000U) | (exponent << 10) | ((bits >> 13) & 0x3FFU));
}

/// What stands before and behind the random integers of a block: scales that give them the deviation kDeviation, and
/// offsets that give the integer in the middle the value 0. Uniform integers of n values deviate by n / sqrt(12).
struct Frame {
  std::string before, behind;
};
Frame frame_of(const TensorType& type) {
  const auto bytes_of = [](float value) {
    const uint16_t bits = half(value);
    return std::string(reinterpret_cast<const char*>(&bits), sizeof(bits));
  };
  const float spread = kDeviation * 3.4641F;
  if (type == kQ8_0) return {bytes_of(spread / 256), ""};
  if (type == kQ4_0) return {bytes_of(spread / 16), ""};
  if (type == kQ6_K) return {"", std::string(16, '\x08') + bytes_of(spread / 64 / 8)};
  // Groups with the scale 16 and the offset 30 or 31, in 6 bits each.
  if (type == kQ4_K) {
    return {bytes_of(spread / 16 / 16) + bytes_of(spread / 16 / 4) + "\x50\x50\x50\x50\x5e\x5e\x5e\x5e\xe0\xe0\xe0\xe0",
            ""};
  }
  return {bytes_of(spread / 32 / 16) + bytes_of(spread / 32 / 2) + "\x50\x50\x50\x50\x5f\x5f\x5f\x5f\xf0\xf0\xf0\xf0",
          ""};
}

/// Blocks of made-up weights to fill matrices with: f16 numbers, or random integers in their frame.
std::string make_pool(const TensorType& type) {
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal(0, kDeviation);
  std::string pool;
  const auto append = [&](uint16_t bits) { pool.append(reinterpret_cast<const char*>(&bits), sizeof(bits)); };
  const Frame frame = frame_of(type);
  for (uint64_t block = 0; block < kPoolBlocks; ++block) {
    if (type == kF16) {
      for (uint32_t i = 0; i < type.block; ++i) {
        const float value = normal(random);
        append(half(std::abs(value) < 1e-4F ? 0 : value));
      }
      continue;
    }
    pool += frame.before;
    for (size_t bytes = type.block_bytes - frame.before.size() - frame.behind.size(); bytes > 0; bytes -= 8) {
      const uint64_t bits = random();
      pool.append(reinterpret_cast<const char*>(&bits), sizeof(bits));
    }
    pool += frame.behind;
  }
  return pool;
}

void write_padding(std::ofstream& file, uint64_t bytes) {
  file << std::string((kAlignment - bytes % kAlignment) % kAlignment, '\0');
}

/// Pools of the types that have been asked for: of a mixture two or three.
class Pools {
 public:
  const std::string& of(const TensorType& type) {
    std::string& pool = pools_[type.id];
    if (pool.empty()) pool = make_pool(type);
    return pool;
  }

 private:
  std::map<uint32_t, std::string> pools_;
};

void write_data(std::ofstream& file, const Tensor& tensor, Pools& pools) {
  if (tensor.type == kF32) {
    const std::vector<float> ones(tensor.columns, 1.0F);
    file.write(reinterpret_cast<const char*>(ones.data()), static_cast<std::streamsize>(tensor.bytes()));
  } else {
    const std::string& pool = pools.of(tensor.type);
    for (uint64_t left = tensor.bytes(); left > 0;) {
      const uint64_t piece = std::min<uint64_t>(left, pool.size());
      file.write(pool.data(), static_cast<std::streamsize>(piece));
      left -= piece;
    }
  }
  write_padding(file, tensor.bytes());
}

void write_model(const Shape& shape, const FileType& file_type, const std::string& path) {
  const std::vector<Tensor> tensors = tensors_of(shape, file_type);
  const Header model = describe_model(shape, file_type);
  Header header;
  header.number<uint32_t>(0x46554747);  // "GGUF"
  header.number<uint32_t>(3);
  header.number<uint64_t>(tensors.size());
  header.number<uint64_t>(model.fields());
  Header directory;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors) {
    directory.text(tensor.name);
    const uint32_t dimensions = tensor.rows == 1 ? 1 : 2;
    directory.number(dimensions);
    directory.number(tensor.columns);
    if (dimensions == 2) directory.number(tensor.rows);
    directory.number(tensor.type.id);
    directory.number(offset);
    offset += (tensor.bytes() + kAlignment - 1) / kAlignment * kAlignment;
  }
  std::ofstream file(path, std::ios::binary);
  if (!file) die(path + ": cannot be created");
  file << header.bytes() << model.bytes() << directory.bytes();
  write_padding(file, header.bytes().size() + model.bytes().size() + directory.bytes().size());
  Pools pools;
  for (const Tensor& tensor : tensors) write_data(file, tensor, pools);
  file.close();
  if (!file) die(path + ": cannot be written, perhaps for want of space (" + std::to_string(offset) + " bytes)");
}

}  // namespace

int main(int argc, char** argv) {
  std::string names;
  for (const FileType& type : kFileTypes) names += (names.empty() ? "" : "|") + std::string(type.name);
  if (argc != 4) die("give a shape, a type and a file: make-gguf hidden=2048,... " + names + " FILE");
  const std::string name = argv[2];
  for (const FileType& type : kFileTypes) {
    if (type.name != name) continue;
    write_model(parse_shape(argv[1], type.type.block), type, argv[3]);
    return 0;
  }
  die("there is no type \"" + name + "\": it is one of " + names);
}
