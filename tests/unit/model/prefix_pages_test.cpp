// Pages that are shared: which are found, which are forgotten, and that none is free while somebody holds it.
#include "model/prefix_pages.h"

#include <gtest/gtest.h>

#include <set>

namespace cria::model {
namespace {

using kernels::kPageSize;

class PrefixPagesTest : public testing::Test {
 protected:
  static constexpr uint32_t kSlots = 3;
  static constexpr uint32_t kPagesPerSlot = 4;

  void SetUp() override {
    config_.num_layers = config_.num_kv_heads = 1;
    config_.head_dim = 8;
    cache_ = KvCache::create(device_, config_, kernels::KvType::kF32, kPagesPerSlot * kPageSize, kSlots, {}).value();
  }

  /// Reads a text of whole pages into a slot and remembers it.
  std::vector<uint32_t> read(PrefixPages& known, uint32_t slot, const std::vector<uint32_t>& text) {
    cache_.truncate(slot, 0);
    EXPECT_TRUE(cache_.reserve(device_, slot, static_cast<uint32_t>(text.size())));
    known.add(text, cache_.pages(slot));
    return cache_.pages(slot);
  }
  static std::vector<uint32_t> text(std::initializer_list<uint32_t> pages) {
    std::vector<uint32_t> tokens;
    for (const uint32_t page : pages) tokens.insert(tokens.end(), kPageSize, page);
    return tokens;
  }

  gpu::Device device_ = gpu::Device::open({}).value();
  ModelConfig config_;
  KvCache cache_;
};

TEST_F(PrefixPagesTest, FindsTheLongestBeginningInWholePages) {
  PrefixPages known(cache_);
  const std::vector<uint32_t> pages = read(known, 0, text({1, 2, 3}));
  EXPECT_EQ(known.find(text({1, 2, 3})), pages);
  EXPECT_EQ(known.find(text({1, 2, 4})), std::vector<uint32_t>(pages.begin(), pages.begin() + 2));
  EXPECT_TRUE(known.find(text({2, 3})).empty()) << "the same tokens elsewhere are another page";
  std::vector<uint32_t> almost = text({1, 2});
  almost.pop_back();
  EXPECT_EQ(known.find(almost).size(), 1U);
  almost = text({1, 2});
  almost.back() = 9;
  EXPECT_EQ(known.find(almost).size(), 1U);
  EXPECT_TRUE(known.find({}).empty());
  const std::vector<uint32_t> others = read(known, 1, text({1, 2, 5}));
  EXPECT_EQ(known.size(), 4U) << "what is known already stays as it is";
  EXPECT_EQ(known.find(text({1, 2, 5})), (std::vector<uint32_t>{pages[0], pages[1], others[2]}));
}

TEST_F(PrefixPagesTest, PagesAreFreeWhenTheLastHolderLetsThemGo) {
  PrefixPages known(cache_);
  const std::vector<uint32_t> pages = read(known, 0, text({1, 2}));
  ASSERT_TRUE(cache_.share(device_, 1, pages));
  EXPECT_EQ(cache_.pages(1), pages);
  EXPECT_EQ(cache_.holders(pages[0]), 3U);
  EXPECT_FALSE(known.forget_oldest()) << "slots hold them";
  cache_.truncate(0, 0);
  cache_.truncate(1, kPageSize);
  EXPECT_EQ(cache_.holders(pages[0]), 2U);
  EXPECT_EQ(cache_.holders(pages[1]), 1U);
  ASSERT_TRUE(cache_.share(device_, 1, std::vector<uint32_t>(pages.begin(), pages.begin() + 1))) << "its own once more";
  EXPECT_EQ(cache_.holders(pages[0]), 2U);
  // Pages that are held are not given to others.
  ASSERT_TRUE(cache_.reserve(device_, 2, kPagesPerSlot * kPageSize));
  std::set<uint32_t> taken(cache_.pages(2).begin(), cache_.pages(2).end());
  EXPECT_EQ(taken.size(), kPagesPerSlot);
  EXPECT_FALSE(taken.contains(pages[0]) || taken.contains(pages[1]));
  EXPECT_TRUE(known.forget_oldest());
  EXPECT_EQ(cache_.holders(pages[1]), 0U);
  EXPECT_FALSE(known.forget_oldest()) << "slot 1 holds the other";
  cache_.truncate(1, 0);
  EXPECT_TRUE(known.forget_oldest());
  EXPECT_EQ(known.size(), 0U);
  EXPECT_FALSE(known.forget_oldest());
}

TEST_F(PrefixPagesTest, TheLeastRecentlyUsedIsForgottenFirstAndFromItsEnd) {
  PrefixPages known(cache_);
  read(known, 0, text({1, 2}));
  read(known, 0, text({3, 4}));
  read(known, 0, text({1, 5}));
  cache_.truncate(0, 0);
  EXPECT_EQ(known.find(text({3, 4})).size(), 2U);  // used now
  EXPECT_TRUE(known.forget_oldest());
  EXPECT_EQ(known.find(text({1, 2})).size(), 1U);
  EXPECT_TRUE(known.forget_oldest());
  EXPECT_EQ(known.find(text({1, 5})).size(), 1U) << "the end of a text goes before its beginning";
  EXPECT_EQ(known.find(text({3, 4})).size(), 2U);
}

}  // namespace
}  // namespace cria::model
