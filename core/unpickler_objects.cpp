// What the names of a checkpoint make when its pickle calls them.
#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/error.h"
#include "core/unpickler.h"
#include "core/weight_file.h"

namespace segrt {
namespace {
constexpr size_t kMaxRank = 64;
}  // namespace

// REDUCE: callee(*arguments). NEWOBJ: the same for a class.
PickleValue Unpickler::call(const PickleValue& callee, const PickleValue& arguments, bool is_class) {
  if (callee.kind != PickleKind::name || arguments.kind != PickleKind::tuple)
    fail(fmt::format("a call of {} with {}", to_string(callee.kind), to_string(arguments.kind)));
  const PickleName& name = pickle_name(callee.index());
  const PickleObjects::Container& tuple = objects_.container(arguments);
  const std::vector<PickleValue> items = objects_.items(tuple, 8);
  const auto expect = [&](bool fits) {
    if (!fits)
      fail(fmt::format("{}.{} with {} arguments, or with the wrong ones", name.module, name.name, tuple.count));
  };
  switch (name.role) {
    case PickleRole::inert: return {.kind = PickleKind::inert};
    case PickleRole::ordered_dict: return dict_of(arguments);
    case PickleRole::default_dict: {
      expect(tuple.count <= 1);
      const PickleValue dict = objects_.new_container(PickleKind::dict);
      objects_.container(dict).takes_state = true;
      return dict;
    }
    case PickleRole::parameter:
      expect(tuple.count == 1 && items[0].kind == PickleKind::tensor);
      objects_.tensors[items[0].index()].is_parameter = true;
      return items[0];
    case PickleRole::rebuild_parameter:
      expect(!is_class && tuple.count == 3 && items[0].kind == PickleKind::tensor);
      return items[0];
    case PickleRole::rebuild_tensor: expect(!is_class && tuple.count == 4); return tensor_of(items);
    case PickleRole::rebuild_tensor_v2:
      expect(!is_class && (tuple.count == 6 || tuple.count == 7));
      return tensor_of(items);
    case PickleRole::storage_type: break;
  }
  fail(fmt::format("{}.{} cannot be called", name.module, name.name));
}

// OrderedDict() or OrderedDict([[key, value], ...]).
PickleValue Unpickler::dict_of(const PickleValue& arguments) {
  const PickleValue dict = objects_.new_container(PickleKind::dict);
  objects_.container(dict).takes_state = true;
  const PickleObjects::Container& tuple = objects_.container(arguments);
  if (tuple.count == 0) return dict;
  const PickleValue pairs = objects_.items(tuple, 1)[0];
  if (tuple.count != 1 || (pairs.kind != PickleKind::list && pairs.kind != PickleKind::tuple))
    fail("collections.OrderedDict of something else than a list of pairs");
  for (uint32_t i = objects_.container(pairs).first; i != PickleObjects::kNone;) {
    const PickleObjects::Cell cell = objects_.cell(i);
    const bool is_list = cell.value.kind == PickleKind::list || cell.value.kind == PickleKind::tuple;
    if (!is_list || objects_.container(cell.value).count != 2)
      fail("collections.OrderedDict of a list with something else than pairs");
    for (const PickleValue& v : objects_.items(objects_.container(cell.value), 2)) objects_.append(dict, v);
    check_size();
    i = cell.next;
  }
  return dict;
}

// (storage, offset, size, stride, ...): requires_grad, hooks and metadata are of no use here.
PickleValue Unpickler::tensor_of(std::span<const PickleValue> arguments) {
  const PickleValue &storage = arguments[0], &offset = arguments[1], &sizes = arguments[2], &strides = arguments[3];
  if (storage.kind != PickleKind::storage || offset.kind != PickleKind::integer || sizes.kind != PickleKind::tuple ||
      strides.kind != PickleKind::tuple)
    fail(fmt::format("a tensor of {}, {}, {} and {}; expected a storage, an offset, a size and a stride",
                     to_string(storage.kind), to_string(offset.kind), to_string(sizes.kind), to_string(strides.kind)));
  const PickleObjects::Tensor tensor{.storage = static_cast<uint32_t>(storage.index()),
                                     .sizes = static_cast<uint32_t>(sizes.index()),
                                     .strides = static_cast<uint32_t>(strides.index()),
                                     .offset = offset.bits};
  check_extents(tensor);
  objects_.tensors.push_back(tensor);
  return {.kind = PickleKind::tensor, .bits = static_cast<int64_t>(objects_.tensors.size() - 1)};
}

void Unpickler::check_extents(const PickleObjects::Tensor& tensor) const {
  const PickleObjects::Container &size_tuple = objects_.container(tensor.sizes),
                                 &stride_tuple = objects_.container(tensor.strides);
  if (size_tuple.count != stride_tuple.count || size_tuple.count > kMaxRank)
    fail(fmt::format("a tensor with {} sizes and {} strides", size_tuple.count, stride_tuple.count));
  const std::vector<PickleValue> sizes = objects_.items(size_tuple, kMaxRank),
                                 strides = objects_.items(stride_tuple, kMaxRank);
  int64_t elements = 1, last = tensor.offset;  // last: the element furthest into the storage
  bool overflows = false, is_empty = false;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i].kind != PickleKind::integer || strides[i].kind != PickleKind::integer)
      fail("a tensor whose sizes or strides are no integers");
    if (sizes[i].bits < 0 || strides[i].bits < 0)
      fail(fmt::format("a tensor of size {} and stride {} in dimension {}", sizes[i].bits, strides[i].bits, i));
    is_empty = is_empty || sizes[i].bits == 0;
  }
  for (size_t i = 0; i < sizes.size(); ++i) {
    int64_t reach = 0;
    overflows = overflows || __builtin_mul_overflow(elements, std::max<int64_t>(sizes[i].bits, 1), &elements) ||
                (!is_empty && (__builtin_mul_overflow(sizes[i].bits - 1, strides[i].bits, &reach) ||
                               __builtin_add_overflow(last, reach, &last)));
  }
  const PickleObjects::Storage& storage = objects_.storages[tensor.storage];
  if (tensor.offset < 0) fail(fmt::format("a tensor at offset {}", tensor.offset));
  if (overflows) fail("oversize: the number of a tensor's elements overflows");
  if (!is_empty && last >= storage.count)
    fail(fmt::format("a tensor needs element {} of a storage of {}", last, storage.count));
}

// A storage by its persistent id: ("storage", type, key, location, elements) in archives; in streams with a sixth, None
// or (key, offset, elements) of a view.
PickleValue Unpickler::storage_of(const PickleValue& id) {
  const auto wrong = [&](const char* what) { fail(std::string("a persistent id ") + what); };
  if (id.kind != PickleKind::tuple) wrong("that is no tuple");
  const std::vector<PickleValue> items = objects_.items(objects_.container(id), 7);
  if (items.empty() || items[0].kind != PickleKind::text) wrong("that does not start with a text");
  if (objects_.text(items[0]) != "storage") fail("a persistent id of kind " + shown_text(objects_.text(items[0])));
  if (items.size() != 5 && items.size() != 6) wrong("of a storage with too few or too many parts");
  if (items[1].kind != PickleKind::name || pickle_name(items[1].index()).role != PickleRole::storage_type)
    wrong("without a storage type");
  if (items[3].kind != PickleKind::text) wrong("without a location");
  if (items[4].kind != PickleKind::integer || items[4].bits < 0) wrong("without a number of elements");
  const uint32_t root = root_of(pickle_name(items[1].index()).type, items[2], items[4].bits);
  PickleObjects::Storage storage{.root = root, .offset = 0, .count = items[4].bits};
  if (items.size() == 6 && items[5].kind != PickleKind::none) {
    if (items[5].kind != PickleKind::tuple || objects_.container(items[5]).count != 3) wrong("with a damaged view");
    const std::vector<PickleValue> view = objects_.items(objects_.container(items[5]), 3);
    if (view[1].kind != PickleKind::integer || view[2].kind != PickleKind::integer) wrong("with a damaged view");
    storage.offset = view[1].bits;
    storage.count = view[2].bits;
    if (storage.offset < 0 || storage.count < 0 || storage.offset > items[4].bits ||
        storage.count > items[4].bits - storage.offset)
      fail(fmt::format("a view of {} elements at {} of a storage of {}", storage.count, storage.offset, items[4].bits));
  }
  objects_.storages.push_back(storage);
  return {.kind = PickleKind::storage, .bits = static_cast<int64_t>(objects_.storages.size() - 1)};
}

uint32_t Unpickler::root_of(const TorchType* type, const PickleValue& key, int64_t count) {
  if (key.kind != PickleKind::text) fail("a persistent id whose key is no text");
  int64_t nbytes = 0;
  if (__builtin_mul_overflow(count, static_cast<int64_t>(type->size), &nbytes) ||
      static_cast<uint64_t>(nbytes) > std::numeric_limits<size_t>::max() / 2)
    fail(fmt::format("oversize: a storage of {} elements", count));
  const std::string_view text = objects_.text(key);
  const auto [it, is_new] = objects_.root_of_key.emplace(text, static_cast<uint32_t>(objects_.roots.size()));
  if (is_new) objects_.roots.push_back({.type = type, .key = text, .count = count});
  const PickleObjects::Root& root = objects_.roots[it->second];
  if (root.type != type || root.count != count)
    fail(fmt::format("storage {} is {} {} here and {} {} elsewhere", shown_text(text), count, type->storage, root.count,
                     root.type->storage));
  return it->second;
}

// BUILD: sets the state of an object, which here means to accept that it has one.
void Unpickler::set_state(const PickleValue& target) {
  bool accepted = target.kind == PickleKind::inert;
  if (target.kind == PickleKind::dict) accepted = objects_.container(target).takes_state;
  if (target.kind == PickleKind::tensor) accepted = objects_.tensors[target.index()].is_parameter;
  if (!accepted) fail(fmt::format("BUILD on {}", to_string(target.kind)));
  push(target);
}

}  // namespace segrt
