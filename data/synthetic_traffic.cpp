// Which vehicles are where: driving, oncoming, parked, crossing.
#include <algorithm>
#include <cmath>

#include "data/synthetic_scene.h"
#include "data/synthetic_vehicles.h"

namespace segrt::data::streets {
namespace {

enum class Kind { car, truck, bus };

struct Span {
  double lateral, from, to;
};

// Keeps vehicles of one lane apart.
class Occupancy {
 public:
  bool take(double lateral, double from, double to) {
    for (const Span& s : taken_)
      if (std::abs(s.lateral - lateral) < 1.9 && from < s.to + 1 && to > s.from - 1) return false;
    taken_.push_back({lateral, from, to});
    return true;
  }

 private:
  std::vector<Span> taken_;
};

Colour car_paint(const Scene& scene, Dice& dice) {
  if (dice.chance(scene.camouflage)) return background_colour(scene, dice);
  const double kind = dice.range(0, 1);
  if (kind < 0.55) return dice.grey(0.08, 0.9);
  return dice.jitter(dice.pick<Colour>({{0.6f, 0.1f, 0.1f},
                                        {0.12f, 0.2f, 0.45f},
                                        {0.2f, 0.36f, 0.25f},
                                        {0.5f, 0.6f, 0.7f},
                                        {0.55f, 0.47f, 0.36f},
                                        {0.75f, 0.6f, 0.12f},
                                        {0.28f, 0.4f, 0.16f}}),
                     0.25);
}

Colour livery(const Scene& scene, Dice& dice) {
  if (dice.chance(scene.camouflage * 0.7)) return background_colour(scene, dice);
  return dice.jitter(dice.pick<Colour>({{0.85f, 0.85f, 0.83f},
                                        {0.8f, 0.65f, 0.15f},
                                        {0.65f, 0.1f, 0.1f},
                                        {0.15f, 0.3f, 0.55f},
                                        {0.2f, 0.42f, 0.28f},
                                        {0.5f, 0.5f, 0.52f},
                                        {0.75f, 0.4f, 0.15f}}),
                     0.2);
}

// The nearest point along the street decides the painting order; `half` is the extent along it.
void add_vehicle(Scene& scene, Dice& dice, Kind kind, double lateral, double along, Turn heading, double half_length,
                 double half_width) {
  const VehiclePose pose{scene.street.place(lateral, along), heading};
  const double extent = std::abs(heading.cosine) * half_length + std::abs(heading.sine) * half_width;
  const double nearest = along - extent;
  if (kind == Kind::car) {
    const int model = dice.count(0, 3);
    const double scale = dice.range(0.94, 1.08);
    const Colour paint = car_paint(scene, dice);
    scene.add(nearest, [=](Painter& painter) { draw_car(painter, pose, model, scale, paint); });
  } else if (kind == Kind::truck) {
    const int load = dice.count(0, 2);
    const Colour cab = livery(scene, dice), box = livery(scene, dice);
    scene.add(nearest, [=](Painter& painter) { draw_truck(painter, pose, 2 * half_length - 2.3, cab, box, load); });
  } else {
    const Colour paint = livery(scene, dice), band = livery(scene, dice);
    scene.add(nearest, [=](Painter& painter) { draw_bus(painter, pose, 2 * half_length, paint, band); });
  }
  scene.cast_shadow(footprint(pose.centre, heading, half_length, half_width), kind == Kind::car ? 1.4 : 3.1);
}

struct Pick {
  Kind kind;
  double half_length, half_width;
};

Pick random_vehicle(Dice& dice, double large) {
  const double p = dice.range(0, 1);
  if (p < large * 0.5) return {Kind::truck, dice.range(3.3, 5.2), 1.25};
  if (p < large) return {Kind::bus, dice.range(5, 6.5), 1.27};
  return {Kind::car, 2.2, 0.9};
}

// Along the axis at `along`, with the way the street turns there.
Turn along_street(const Street& street, double along, bool oncoming) {
  const double slope = street.curve * along;  // tan(a / 2) of the heading for small slopes 2 * curve * z
  const Turn turn = half_tangent(slope);
  return oncoming ? Turn{-turn.cosine, -turn.sine} : turn;
}

void plan_lanes(Scene& scene, Dice& dice, Occupancy& occupancy) {
  const Street& street = scene.street;
  for (int side = 0; side < 2; ++side) {
    const Side& plan = street.sides[static_cast<size_t>(side)];
    const double room = plan.kerb - (plan.parking ? 2.1 : 0.2);
    for (double lateral = street.lane / 2; lateral < room; lateral += street.lane) {
      const double gap = dice.range(9, 70);
      for (double z = dice.range(side == 1 ? 9 : 5, 40); z < street.end - 8; z += gap * dice.range(0.4, 1.6)) {
        const Pick pick = random_vehicle(dice, 0.26);
        const double at = z + pick.half_length, shifted = Street::sign(side) * lateral + dice.range(-0.3, 0.3);
        if (!occupancy.take(shifted, z, z + 2 * pick.half_length)) continue;
        Turn heading = along_street(street, at, side == 0);
        if (dice.chance(0.12)) {  // changing lanes
          const Turn off = half_tangent(dice.range(-0.12, 0.12));
          heading = side == 0 ? Turn{-off.cosine, -off.sine} : off;
        }
        add_vehicle(scene, dice, pick.kind, shifted, at, heading, pick.half_length, pick.half_width);
      }
    }
  }
}

void plan_parked(Scene& scene, Dice& dice, Occupancy& occupancy) {
  const Street& street = scene.street;
  for (int side = 0; side < 2; ++side) {
    const Side& plan = street.sides[static_cast<size_t>(side)];
    if (!plan.parking) continue;
    const double fill = dice.range(0.3, 0.95), lateral = Street::sign(side) * (plan.kerb - 1.1);
    for (double z = dice.range(3, 8); z < std::min(street.end - 8, 130.0); z += dice.range(5.2, 6.4)) {
      if (!dice.chance(fill) || street.in_crossing(z, side, 6)) continue;
      const Pick pick = dice.chance(0.07) ? Pick{Kind::truck, dice.range(3.0, 3.8), 1.2} : Pick{Kind::car, 2.2, 0.9};
      if (!occupancy.take(lateral, z, z + 2 * pick.half_length)) continue;
      const double at = z + pick.half_length;
      const Turn heading = along_street(street, at, dice.chance(side == 0 ? 0.8 : 0.15));
      add_vehicle(scene, dice, pick.kind, lateral, at, heading, pick.half_length, pick.half_width);
    }
  }
}

void plan_crossing_traffic(Scene& scene, Dice& dice) {
  for (const Crossing& crossing : scene.street.crossings) {
    if (crossing.from < 16 || !dice.chance(0.5)) continue;
    const bool leftward = dice.chance(0.5);
    const double along = leftward ? crossing.from + 0.7 * (crossing.to - crossing.from)
                                  : crossing.from + 0.3 * (crossing.to - crossing.from);
    double lateral = dice.range(-12, 2);
    const int vehicles = dice.count(1, 2);
    for (int k = 0; k < vehicles; ++k) {
      const Pick pick = random_vehicle(dice, 0.4);
      if ((lateral < 0 && !crossing.open[0]) || (lateral > 6 && !crossing.open[1])) break;
      add_vehicle(scene, dice, pick.kind, lateral, along, {0, leftward ? -1.0 : 1.0}, pick.half_length,
                  pick.half_width);
      lateral += 2 * pick.half_length + dice.range(2, 5);
    }
  }
}

void plan_tram(Scene& scene, Dice& dice, Occupancy& occupancy) {
  const Street& street = scene.street;
  if (!street.tram || !dice.chance(0.85)) return;
  const int cars = dice.count(1, 3);
  const double length = cars * 10.0;
  const bool oncoming = street.tram_lateral < 0;
  const double from = oncoming ? dice.range(7, 40) : dice.range(11, 45), at = from + length / 2;
  occupancy.take(street.tram_lateral, from, from + length);
  const VehiclePose pose{street.place(street.tram_lateral, at), along_street(street, at, oncoming)};
  const Colour paint = livery(scene, dice), band = livery(scene, dice);
  scene.cast_shadow(footprint(pose.centre, pose.heading, length / 2, 1.25), 3.3);
  scene.add(from, [=](Painter& painter) { draw_tram(painter, pose, cars, paint, band); });
}

}  // namespace

void plan_vehicles(Scene& scene, Dice dice) {
  Occupancy occupancy;
  plan_tram(scene, dice, occupancy);
  plan_lanes(scene, dice, occupancy);
  plan_parked(scene, dice, occupancy);
  plan_crossing_traffic(scene, dice);
}

}  // namespace segrt::data::streets
