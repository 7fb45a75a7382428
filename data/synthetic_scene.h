// One synthetic street: its layout, and what stands in it, as a list of things to paint from far to near.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "data/synthetic_noise.h"
#include "data/synthetic_raster.h"

namespace segrt::data::streets {

enum Label : int {  // Cityscapes train ids
  kRoad,
  kSidewalk,
  kBuilding,
  kWall,
  kFence,
  kPole,
  kTrafficLight,
  kTrafficSign,
  kVegetation,
  kTerrain,
  kSky,
  kPerson,
  kRider,
  kCar,
  kTruck,
  kBus,
  kTrain,
  kMotorcycle,
  kBicycle,
  kVoid = 255
};

enum class District { city, boulevard, residential, outskirts };

struct Strip {  // of the ground along the street, from the kerb outwards
  double width;
  Label label;
};

struct Side {
  District district = District::city;
  std::vector<Strip> strips;
  double kerb = 0;           // distance of the road's edge from the street's axis
  double building_line = 0;  // distance of the facades
  bool parking = false;      // cars stand along the kerb
};

struct Line {                                 // painted along the street
  double lateral, half_width, period, share;  // metres; period 0: solid
};

struct Crossing {  // a street that crosses: road over [from, to] along ours, on the sides where it is open
  double from, to;
  std::array<bool, 2> open;
};

// Lateral positions are metres right of the street's axis; side 0 is left (lateral < 0), side 1 right.
struct Street {
  std::array<Side, 2> sides;
  double curve = 0;   // lateral shift of the axis is curve * z^2
  double lane = 3.2;  // width
  double ego = 0;     // the camera's lateral position
  double end = 200;   // where houses or trees close the view
  bool tram = false;
  double tram_lateral = 0;
  std::vector<Line> lines;
  std::vector<double> zebras;  // start along the street, 3.5 m each
  std::vector<Crossing> crossings;

  static double sign(int side) { return side == 0 ? -1.0 : 1.0; }
  Vec3 place(double lateral, double along, double height = 0) const {
    return {lateral + curve * along * along, height, along};
  }
  bool in_crossing(double along, int side, double margin) const;
};

// Colours and textures that a scene shares.
struct Look {
  Colour asphalt, paving, kerb, terrain, terrain_dry, paint, foliage, foliage_other;
  Colour sky_low, sky_high, cloud;
  float cloud_cover = 0.5f, asphalt_patches = 0.1f, paving_stone = 0.6f, worn = 0.3f;
  bool cobbles = false;
  std::array<Colour, 4> facades;
};

struct Sensor {
  Colour gain{1, 1, 1};
  float contrast = 1, blur = 0, noise = 0.01f, vignette = 0.1f;
  float hood = 0;  // height of the ego vehicle's hood as a share of the image, 0: not in view
  Colour hood_colour;
  int border = 0;  // ignored columns and rows at the image's edges
};

struct Drawable {
  double depth;  // along the street: painted in descending order
  std::function<void(Painter&)> draw;
  std::function<void(Painter&, uint16_t)> occlude =
      {};  // of large opaque things: Painter::occlude with the given order
};

struct Scene {
  Camera camera;
  Light light;
  Look look;
  Street street;
  Sensor sensor;
  double camouflage = 0.3;  // probability that a thing has the colour of what is behind it
  std::vector<Drawable> drawables;
  std::vector<std::vector<Vec2>> shadows;
  std::vector<float> shadow_strengths;

  void add(double depth, std::function<void(Painter&)> draw) { drawables.push_back({depth, std::move(draw), {}}); }
  // The shadow of an upright prism on the ground outline `base` (convex, in (x, z)), and the dark where it stands.
  void cast_shadow(std::span<const Vec2> base, double height);
  void cast_shadow(Vec3 foot, double half_width, double height);  // of something thin
};

// A colour that the scene already has on its ground, facades, sky or foliage: a thing in it cannot be told by colour.
Colour background_colour(const Scene& scene, Dice& dice);

// The corners of a rectangle on the ground: half lengths along the unit direction (sine, cosine in (x, z)) and across.
std::array<Vec2, 4> footprint(Vec3 centre, Turn heading, double half_length, double half_width);
// 8 or 16 points of an ellipse around (u, v).
std::vector<Vec2> ellipse(double u, double v, double radius_u, double radius_v, int points = 16);
// A bar from a to b whose ends have these half widths.
std::array<Vec2, 4> bar(Vec2 a, Vec2 b, double half_a, double half_b);
// An upright plane through `foot` facing the camera.
Plane billboard(const Camera& camera, Vec3 foot);

struct SceneSeed {
  uint64_t seed, index;
  double difficulty;
};
Scene plan_scene(const SceneSeed& seed, int width, int height);
// Its parts; each draws from its own random stream and adds to the scene.
void plan_street(Scene& scene, Dice dice, double difficulty);
void plan_buildings(Scene& scene, Dice dice);
void plan_roadside(Scene& scene, Dice dice);   // walls, fences, trees
void plan_furniture(Scene& scene, Dice dice);  // poles, lights, signs
void plan_vehicles(Scene& scene, Dice dice);
void plan_people(Scene& scene, Dice dice);  // and two-wheelers

// Everything of the scene but the sensor.
void paint_scene(const Scene& scene, Painter& painter);
void paint_sky(const Scene& scene, Painter& painter);
void paint_ground(const Scene& scene, Painter& painter);

}  // namespace segrt::data::streets
