// Loading a model that does not fit: the error names what was to be allocated, how much, and of what.
#include <gtest/gtest.h>

#include "formats/huggingface.h"
#include "memory_limit.h"
#include "model/model.h"
#include "sparse_model.h"

namespace cria::model {
namespace {

formats::HuggingFaceFolder open_folder(const TemporaryFolder& folder) {
  auto opened = formats::HuggingFaceFolder::open(folder.path());
  EXPECT_TRUE(opened) << opened.error().message();
  return *std::move(opened);
}

/// Loads the model, which must not fit, and gives the error's sentence.
std::string refusal(gpu::Device& device, const formats::HuggingFaceFolder& folder) {
  const auto config = parse_config(folder.config(), "config.json");
  EXPECT_TRUE(config) << config.error().message();
  const auto model = Model::load(device, folder, *config, {}, [](uint64_t) {});
  if (model) return "loaded";
  EXPECT_EQ(model.error().code(), ErrorCode::kOutOfMemory);
  return model.error().message();
}

TEST(ModelLoad, MoreThanTheDeviceHasIsRefusedBeforeAnythingIsLoaded) {
  auto device = gpu::Device::open({}).value();
  if (device.info().memory_bytes == 0) GTEST_SKIP() << "this device does not tell its memory";
  const TemporaryFolder folder;
  if (!write_sparse_model(folder, 1U << 22, 1U << 19)) GTEST_SKIP() << "no files of 8 TiB here";
  const std::string message = refusal(device, open_folder(folder));
  EXPECT_TRUE(message.starts_with("the weights take 8,796,")) << message;
  EXPECT_TRUE(message.ends_with(
      fmt::format("more than the {} bytes of {}", with_commas(device.info().memory_bytes), device.info().name)))
      << message;
  EXPECT_EQ(device.memory_bytes(gpu::MemoryKind::kWeights), 0U);
}

#ifdef __linux__
TEST(ModelLoad, AnAllocationThatIsRefusedNamesTheTensor) {
  auto device = gpu::Device::open({}).value();
  if (!refuses_memory(device.info())) GTEST_SKIP() << kNoRefusal;
  const TemporaryFolder folder;
  const uint64_t rows = device.limits().max_binding_bytes / 4096;  // one binding, of rows of 4 KiB
  ASSERT_TRUE(write_sparse_model(folder, rows, 1024));
  const formats::HuggingFaceFolder opened = open_folder(folder);
  const MemoryLimit limit(rows * 4096 / 2);
  const std::string message = refusal(device, opened);
  EXPECT_TRUE(message.starts_with(fmt::format("model.embed_tokens: {} refused to allocate {} bytes (",
                                              device.info().name, with_commas(rows * 4096))))
      << message;
}
#endif

}  // namespace
}  // namespace cria::model
