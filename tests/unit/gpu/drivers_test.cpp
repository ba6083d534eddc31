// The choice of Vulkan drivers: what the user says wins, and a driver for the CPU is added, never preferred.
#include "gpu/drivers.h"

#include <gtest/gtest.h>

#include <fstream>

namespace cria::gpu {
namespace {

/// A situation with both drivers for the CPU; the files exist, as choose_drivers() checks them.
class Drivers : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = std::filesystem::path(testing::TempDir()) /
              fmt::format("cria-drivers-{}", testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(folder_);
    situation_.lavapipe = folder_ / "lvp_icd.json";
    situation_.swiftshader = folder_ / "vk_swiftshader_icd.json";
    for (const auto& file : {situation_.lavapipe, situation_.swiftshader}) std::ofstream(file) << "{}";
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }

  /// The variable and value as one text, "none" for no change, or the error's sentence.
  [[nodiscard]] std::string choice() const {
    const auto change = choose_drivers(situation_);
    if (!change) return change.error().message();
    return *change ? (*change)->name + "=" + (*change)->value : "none";
  }

  std::filesystem::path folder_;
  DriverSituation situation_;
};

TEST_F(Drivers, LavapipeIsAddedToTheSystemsDrivers) {
  EXPECT_EQ(choice(), "VK_ADD_DRIVER_FILES=" + situation_.lavapipe.string());
  situation_.request = "auto";
  EXPECT_EQ(choice(), "VK_ADD_DRIVER_FILES=" + situation_.lavapipe.string());
}

TEST_F(Drivers, AUsersOwnAdditionsStayInFront) {
  situation_.user_additions = "/opt/mine.json";
  EXPECT_EQ(choice(), "VK_ADD_DRIVER_FILES=/opt/mine.json:" + situation_.lavapipe.string());
}

TEST_F(Drivers, AUsersOwnListIsLeftAlone) {
  situation_.has_user_list = true;
  EXPECT_EQ(choice(), "none");
}

TEST_F(Drivers, NothingIsAddedWhereNoDriverForTheCpuCame) {
  situation_.lavapipe.clear();
  EXPECT_EQ(choice(), "none");
}

TEST_F(Drivers, SystemMeansTheSystemsAlone) {
  situation_.request = "system";
  EXPECT_EQ(choice(), "none");
}

TEST_F(Drivers, ANamedDriverIsTheOnlyOneEvenOverAUsersList) {
  situation_.has_user_list = true;
  situation_.request = "lavapipe";
  EXPECT_EQ(choice(), "VK_DRIVER_FILES=" + situation_.lavapipe.string());
  situation_.request = "swiftshader";
  EXPECT_EQ(choice(), "VK_DRIVER_FILES=" + situation_.swiftshader.string());
  situation_.request = (folder_ / "lvp_icd.json").string();
  EXPECT_EQ(choice(), "VK_DRIVER_FILES=" + situation_.request);
}

TEST_F(Drivers, AnAbsentDriverIsAnErrorThatNamesIt) {
  situation_.swiftshader.clear();
  situation_.request = "swiftshader";
  EXPECT_TRUE(choice().starts_with("CRIA_VULKAN_DRIVER=swiftshader: this driver does not come")) << choice();
  situation_.request = (folder_ / "absent.json").string();
  EXPECT_EQ(choice(), "CRIA_VULKAN_DRIVER=" + situation_.request + ": there is no such file");
}

TEST_F(Drivers, AnUnknownWordIsRefusedWithTheChoices) {
  situation_.request = "nvidia";
  const auto change = choose_drivers(situation_);
  ASSERT_FALSE(change);
  EXPECT_EQ(change.error().code(), ErrorCode::kInvalidInput);
  EXPECT_NE(change.error().message().find("swiftshader"), std::string::npos);
}

}  // namespace
}  // namespace cria::gpu
