// The cache's pages where there are fewer than a device or its user would like.
#include "model/kv_cache.h"

#include <gtest/gtest.h>

#include "gpu/faults.h"

namespace cria::model {
namespace {

using kernels::kPageSize;

class KvCacheTest : public testing::Test {
 protected:
  static constexpr uint32_t kPagesPerSlot = 16;
  void SetUp() override {
    config_.num_layers = config_.num_kv_heads = 1;
    config_.head_dim = 8;
  }
  void TearDown() override { gpu::faults::refuse_buffer(0); }
  KvCache make(uint32_t max_positions = 0) {
    return KvCache::create(device_, config_, kernels::KvType::kF32, kPagesPerSlot * kPageSize, 2, {}, max_positions)
        .value();
  }

  gpu::Device device_ = gpu::Device::open({}).value();
  ModelConfig config_;
};

TEST_F(KvCacheTest, HoldsNoMorePositionsThanItMay) {
  KvCache cache = make(20 * kPageSize);
  EXPECT_EQ(cache.max_pages(), 20U);
  EXPECT_TRUE(cache.reserve(device_, 0, 16 * kPageSize));
  EXPECT_TRUE(cache.reserve(device_, 1, 4 * kPageSize));
  const Status more = cache.reserve(device_, 1, 4 * kPageSize + 1);
  ASSERT_FALSE(more);
  EXPECT_EQ(more.error().code(), ErrorCode::kOutOfMemory);
  EXPECT_EQ(cache.used_pages(), 20U);
  cache.truncate(0, 0);
  EXPECT_EQ(cache.used_pages(), 4U);
  EXPECT_TRUE(cache.reserve(device_, 1, 16 * kPageSize));
}

/// It begins with 8 pages and would double them.
TEST_F(KvCacheTest, GrowsByWhatItNeedsWhereItCannotDouble) {
  KvCache cache = make();
  ASSERT_TRUE(cache.reserve(device_, 0, 8 * kPageSize));
  gpu::faults::refuse_buffer(1);
  EXPECT_TRUE(cache.reserve(device_, 0, 9 * kPageSize));
  EXPECT_EQ(cache.used_pages(), 9U);
  EXPECT_EQ(cache.max_pages(), 2 * kPagesPerSlot) << "more may fit later";
}

}  // namespace
}  // namespace cria::model
