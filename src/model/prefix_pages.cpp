#include "model/prefix_pages.h"

#include <algorithm>

namespace cria::model {

using kernels::kPageSize;

PrefixPages::Key PrefixPages::key(uint64_t parent, std::span<const uint32_t> tokens, size_t page) {
  Key key{.parent = parent};
  std::ranges::copy(tokens.subspan(page * kPageSize, kPageSize), key.tokens.begin());
  return key;
}

std::vector<uint32_t> PrefixPages::find(std::span<const uint32_t> tokens) {
  std::vector<uint32_t> pages;
  uint64_t parent = 0;
  ++clock_;
  while ((pages.size() + 1) * kPageSize <= tokens.size()) {
    const auto found = known_.find(key(parent, tokens, pages.size()));
    if (found == known_.end()) break;
    found->second.last_used = clock_;
    parent = found->second.number;
    pages.push_back(found->second.page);
  }
  return pages;
}

void PrefixPages::add(std::span<const uint32_t> tokens, std::span<const uint32_t> pages) {
  CRIA_CHECK(tokens.size() >= pages.size() * kPageSize);
  uint64_t parent = 0;
  ++clock_;
  for (size_t i = 0; i < pages.size(); ++i) {
    const auto [place, is_new] = known_.try_emplace(key(parent, tokens, i));
    Page& page = place->second;
    if (is_new) {
      page.number = ++numbers_;
      page.page = pages[i];
      cache_->hold(pages[i]);
      by_number_.emplace(page.number, place);
      if (parent != 0) ++by_number_.at(parent)->second.followers;
    }
    page.last_used = clock_;
    parent = page.number;
  }
}

bool PrefixPages::forget_oldest() {
  auto oldest = known_.end();
  for (auto place = known_.begin(); place != known_.end(); ++place) {
    const Page& page = place->second;
    if (page.followers > 0 || cache_->holders(page.page) > 1) continue;
    if (oldest == known_.end() || page.last_used < oldest->second.last_used) oldest = place;
  }
  if (oldest == known_.end()) return false;
  if (oldest->first.parent != 0) --by_number_.at(oldest->first.parent)->second.followers;
  cache_->let_go(oldest->second.page);
  by_number_.erase(oldest->second.number);
  known_.erase(oldest);
  return true;
}

}  // namespace cria::model
